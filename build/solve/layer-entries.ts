// The entries of a layer that the build makes itself, above the files of a stage. They are written
// in their order, so a path may occur again: the last one counts, as in any layer.
import type { Inode, Timestamp } from '../../images/build.js';
import { BuildError } from '../build-error.js';
import { MAX_FILES, MAX_LINK_NAMES } from '../limits.js';

/** An entry of the layer. */
export interface CopyEntry {
  /** Absolute without the first slash; '' for the root. */
  path: string;
  /** A hard link to the path of an entry before. */
  link?: string;
  /** The file at the source, for its contents. */
  source?: Inode;
  /** Contents that come from no tree. */
  contents?: Buffer | (() => AsyncIterable<Buffer>);
  kind: Inode['kind'];
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: Timestamp;
  target: string;
  device: number;
  xattrs: Inode['xattrs'];
}

/** What most entries lack. */
export const NOTHING = { size: 0, target: '', device: 0, xattrs: null, uid: 0, gid: 0 };
/** OCI image-spec 1.1, layer.md, "Whiteouts". */
const WHITEOUT = '.wh.';
/** As the kernel's MAXSYMLINKS. */
const MAX_SYMLINKS = 40;

/** What is at a path, of this layer or below it. */
export interface Found {
  path: string;
  kind: Inode['kind'] | undefined;
  /** If the layer has made it. */
  made: CopyEntry | undefined;
}

/** The last entry of a path. */
interface Made {
  entry: CopyEntry;
  /** The number of entries before it. */
  at: number;
  /** `at` of the path's last entry that was no directory, so that nothing before it is below; -1 if none was. */
  emptied: number;
}

interface LayerOptions {
  /** Of directories that the build makes itself. Undefined: root. */
  owner: { uid: number; gid: number } | undefined;
  now: Timestamp;
}

export class LayerEntries {
  readonly entries: CopyEntry[] = [];
  readonly #target: Inode;
  readonly #options: LayerOptions;
  /** What this layer has made, by path. */
  readonly #made = new Map<string, Made>();
  #linkNames = 0;

  /** @param target the files below the layer */
  constructor(target: Inode, options: LayerOptions) {
    this.#target = target;
    this.#options = options;
  }

  /**
   * Where a path leads, and what is there: of this layer, or below it. Symbolic links lead nowhere
   * out of the root.
   *
   * @param followsLast if false, a link at the end of the path is not followed
   */
  find(path: string, followsLast = true): Found {
    const pending = path.split('/').reverse();
    const paths = [''];
    /** Of each name, what is below the layer, unless the layer has replaced it. */
    const trail: (Inode | undefined)[] = [this.#target];
    const found: Omit<Found, 'path'>[] = [{ kind: 'directory', made: this.#made.get('')?.entry }];
    const emptied = [-1];
    for (let links = 0; pending.length > 0; ) {
      const name = pending.pop()!;
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (paths.length === 1) continue;
        paths.pop();
        trail.pop();
        found.pop();
        emptied.pop();
        continue;
      }
      const own = paths.length === 1 ? name : `${paths.at(-1)}/${name}`;
      const last = this.#made.get(own);
      const above = emptied.at(-1)!;
      const made = last !== undefined && last.at > above ? last.entry : undefined;
      const below = trail.at(-1)?.children.get(name)?.inode;
      const { kind, target = '' } = made ?? below ?? { kind: undefined };
      const isLast = pending.every((rest) => rest === '' || rest === '.');
      if (kind === 'symlink' && (followsLast || !isLast)) {
        if (++links > MAX_SYMLINKS) throw new BuildError('bad-context', `too many symbolic links: ${shownPath(path)}`);
        if (target.startsWith('/')) {
          paths.length = 1;
          trail.length = 1;
          found.length = 1;
          emptied.length = 1;
        }
        const names = target.split('/').reverse();
        this.#linkNames += names.length;
        if (this.#linkNames > MAX_LINK_NAMES) {
          throw new BuildError('too-large', `the symbolic links on the way of ${shownPath(path)} are too long`);
        }
        pending.push(...names);
        continue;
      }
      paths.push(own);
      found.push({ kind, made });
      emptied.push(Math.max(above, last?.emptied ?? -1));
      trail.push(emptied.at(-1) === -1 && (made === undefined || made.kind === below?.kind) ? below : undefined);
    }
    return { path: paths.at(-1)!, ...found.at(-1)! };
  }

  /** A name that means the removal of another one in a layer is left out. */
  add(entry: CopyEntry): void {
    if (entry.path.startsWith(WHITEOUT, entry.path.lastIndexOf('/') + 1)) return;
    if (this.entries.length >= MAX_FILES) throw new BuildError('too-large', `more than ${MAX_FILES} files are copied`);
    const at = this.entries.length;
    const emptied = entry.kind === 'directory' ? (this.#made.get(entry.path)?.emptied ?? -1) : at;
    this.#made.set(entry.path, { entry, at, emptied });
    this.entries.push(entry);
  }

  /** Makes a directory and those above it, unless they are there. Returns its resolved path. */
  directory(path: string): string {
    const found = this.find(path);
    if (found.path === '' || found.kind === 'directory') return found.path;
    if (found.kind !== undefined) {
      throw new BuildError('bad-context', `cannot make the directory /${shownPath(found.path)}: it is a ${found.kind}`);
    }
    const slash = found.path.lastIndexOf('/');
    if (slash > 0) this.directory(found.path.slice(0, slash));
    const { owner = { uid: 0, gid: 0 }, now } = this.#options;
    this.add({ ...NOTHING, path: found.path, kind: 'directory', mode: 0o755, ...owner, mtime: now });
    return found.path;
  }
}

/** The entry of a directory that the build makes, and of those above it that are missing. */
export function directoryEntries(target: Inode, path: string, options: LayerOptions): CopyEntry[] {
  const made = new LayerEntries(target, options);
  made.directory(path);
  return made.entries;
}

/** The bytes of a path as text. */
export function shownPath(path: string): string {
  return Buffer.from(path, 'latin1').toString();
}
