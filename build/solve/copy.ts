// What COPY and ADD do to the files of a stage, as the entries of a layer (Dockerfile reference,
// "COPY"). Both sides are trees: a context or the layers of an image, and the layers of the stage.
// Symbolic links lead nowhere out of their tree.
import { type Inode, type LayerTree, mergeLayers, resolvePath, type Timestamp } from '../../images/build.js';
import { BuildError } from '../build-error.js';
import type { IgnoreRules, RuleState } from '../context/ignore.js';
import { isPattern, Pattern, PatternError } from '../context/pattern.js';
import { type CopyEntry, LayerEntries, NOTHING, shownPath } from './layer-entries.js';
import type { Mode } from './mode.js';
import { type Archive, unpackInto } from './unpack.js';

/** Paths and names are bytes, one character each. */
export interface CopyOptions {
  /** The words of the instruction, without those of heredocs. */
  sources: readonly string[];
  /** Absolute. A slash at its end says that it is a directory. */
  destination: string;
  /** Undefined: as at the source. */
  owner: { uid: number; gid: number } | undefined;
  mode: Mode | undefined;
  /** Of what the build makes itself. */
  now: Timestamp;
  parents: boolean;
  excludes: IgnoreRules;
  /** Files that are in no tree: those that the Dockerfile holds, and downloads. */
  files?: readonly LooseFile[];
  /** Trees that are copied whole: those of repositories. */
  trees?: readonly LayerTree[];
  /** Files of the tree that are unpacked. */
  archives?: ReadonlyMap<Inode, Archive>;
}

/** A file that is in no tree. */
export interface LooseFile {
  name: string;
  contents: Buffer | (() => AsyncIterable<Buffer>);
  size: number;
  /** Unless `--chmod` says another. */
  mode: number;
  mtime: Timestamp;
  /** It is unpacked. */
  archive?: Archive | undefined;
}

/** A tree without files. */
export const EMPTY: Inode = mergeLayers([]);

/** A file that a word of the instruction stands for. */
export interface Match {
  /** From the root, as the word has it. */
  path: string;
  inode: Inode;
  /** The part of the path that `--parents` keeps. */
  kept: string;
}

/**
 * Finds what the sources stand for, in their order.
 * @throws BuildError `bad-context`
 */
export function findSources(root: Inode, sources: readonly string[], keepsParents = false): Match[] {
  const found: Match[] = [];
  let isWild = false;
  for (const word of sources) {
    const { path, pivot } = cleanSource(word, keepsParents);
    if (!isPattern(path)) {
      const inode = resolvePath(root, path)?.inode ?? null;
      if (inode === null) throw notFound(path);
      found.push({ path, inode, kept: path.slice(pivot) });
      continue;
    }
    isWild = true;
    found.push(...matchesOf(root, path).map((match) => ({ ...match, kept: match.path.slice(pivot) })));
  }
  if (found.length === 0 && isWild) {
    throw new BuildError('bad-context', `no source files were found: ${sources.map(shownPath).join(' ')}`);
  }
  return found;
}

/** The path of a source from the root, without `.` and `..`. With `--parents`, `/./` marks what is kept. */
function cleanSource(word: string, keepsParents: boolean): { path: string; pivot: number } {
  const clean = (part: string) => {
    const names: string[] = [];
    for (const name of part.split('/')) {
      if (name === '..') names.pop();
      else if (name !== '' && name !== '.') names.push(name);
    }
    return names.join('/');
  };
  const at = keepsParents ? word.indexOf('/./') : -1;
  if (at < 0) return { path: clean(word), pivot: 0 };
  const before = clean(word.slice(0, at));
  const path = clean(word);
  return { path, pivot: before === '' ? 0 : before.length + 1 };
}

function matchesOf(root: Inode, path: string): Omit<Match, 'kept'>[] {
  let at: { path: string; inode: Inode }[] = [{ path: '', inode: root }];
  for (const name of path.split('/')) {
    const next: typeof at = [];
    const pattern = patternOf(name);
    for (const { path, inode } of at) {
      const names = isPattern(name)
        ? [...inode.children.keys()].filter((child) => pattern.matches(child)).sort()
        : [name];
      for (const child of names) {
        const childPath = path === '' ? child : `${path}/${child}`;
        const found = inode.children.has(child) ? resolvePath(root, childPath)?.inode : null;
        if (found) next.push({ path: childPath, inode: found });
      }
    }
    at = next;
  }
  return at;
}

function patternOf(name: string): Pattern {
  try {
    // `**` is no other than `*` here.
    return new Pattern(name.replace(/\*+/g, '*'));
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw new BuildError('bad-dockerfile', error.message, { cause: error });
  }
}

/**
 * The entries of the layer that a copy makes.
 * @throws BuildError
 */
export function copyEntries(source: Inode, target: Inode, options: CopyOptions): CopyEntry[] {
  return new Copy(target, options).run(findSources(source, options.sources, options.parents));
}

class Copy {
  readonly #layer: LayerEntries;
  readonly #options: CopyOptions;
  /** The entries of each file with several names, without those that were found replaced. */
  readonly #links = new Map<Inode, CopyEntry[]>();
  /** Reads the tree that is copied. Undefined: the source of the instruction. */
  #read: LayerTree['read'] | undefined;

  constructor(target: Inode, options: CopyOptions) {
    this.#layer = new LayerEntries(target, options);
    this.#options = options;
  }

  run(matches: Match[]): CopyEntry[] {
    const { destination, files = [], trees = [], archives, sources, parents } = this.#options;
    const several = matches.length + files.length + trees.length > 1;
    const isFolder = destination.endsWith('/') || destination.endsWith('/.');
    if (sources.length + files.length + trees.length > 1 && !isFolder) {
      throw new BuildError(
        'bad-dockerfile',
        'When using COPY with more than one source file, the destination must be a directory and end with a /',
      );
    }
    const intoFolder = isFolder || several || parents || this.#layer.find(destination).kind === 'directory';
    for (const { name, archive, ...file } of files) {
      if (archive !== undefined) {
        unpackInto(this.#layer, archive, destination);
        continue;
      }
      const { owner = { uid: 0, gid: 0 }, mode } = this.#options;
      const path = this.#place(intoFolder ? `${destination}/${name}` : destination);
      const entry = { ...NOTHING, ...file, path, kind: 'file' as const, ...owner };
      this.#layer.add({ ...entry, mode: mode === undefined ? file.mode : mode.of(file.mode, false) });
    }
    for (const tree of trees) {
      this.#read = (inode) => tree.read(inode);
      this.#contents(tree.root, destination, this.#options.excludes.root);
      this.#read = undefined;
    }
    for (const { path, inode, kept } of matches) {
      const root = this.#options.excludes.root;
      const archive = archives?.get(inode);
      if (archive !== undefined) {
        unpackInto(this.#layer, archive, destination);
      } else if (parents) {
        const slash = kept.lastIndexOf('/');
        const above = slash < 0 ? '' : kept.slice(0, slash);
        this.#layer.directory(`${destination}/${above}`);
        this.#copy(inode, `${destination}/${kept}`, kept, root);
      } else if (inode.kind === 'directory') {
        this.#contents(inode, destination, root);
      } else {
        const name = path.slice(path.lastIndexOf('/') + 1);
        if (this.#options.excludes.check(name, root).isIgnored) continue;
        this.#copy(inode, intoFolder ? `${destination}/${name}` : destination, '', root);
      }
    }
    return this.#layer.entries;
  }

  /** The resolved path of a file to make, whose directory is made if it is missing. */
  #place(path: string): string {
    const found = this.#layer.find(path);
    if (found.kind === 'directory') {
      throw new BuildError('bad-context', `cannot copy to /${shownPath(found.path)}: it is a directory`);
    }
    const slash = found.path.lastIndexOf('/');
    if (slash > 0) this.#layer.directory(found.path.slice(0, slash));
    return found.path;
  }

  /** Copies what is in a directory, not the directory itself. */
  #contents(directory: Inode, destination: string, state: RuleState): void {
    const found = this.#layer.find(destination);
    if (found.path !== '' && found.kind !== undefined && found.kind !== 'directory') {
      throw new BuildError(
        'bad-context',
        `cannot copy a directory to /${shownPath(found.path)}: it is a ${found.kind}`,
      );
    }
    this.#layer.directory(destination);
    this.#children(directory, found.path, '', state);
  }

  #children(directory: Inode, destination: string, path: string, above: RuleState): void {
    for (const [name, { inode }] of [...directory.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const childPath = path === '' ? name : `${path}/${name}`;
      const { isIgnored, state } = this.#options.excludes.check(childPath, above);
      if (isIgnored && !(inode.kind === 'directory' && this.#options.excludes.hasExceptions)) continue;
      this.#copy(inode, destination === '' ? name : `${destination}/${name}`, childPath, state);
    }
  }

  /** Copies an inode to a path, and what is below it. */
  #copy(inode: Inode, destination: string, path: string, state: RuleState): void {
    if (inode.kind !== 'directory') {
      this.#add(inode, this.#place(destination));
      return;
    }
    const found = this.#layer.find(destination);
    if (found.kind !== undefined && found.kind !== 'directory') {
      throw new BuildError(
        'bad-context',
        `cannot copy a directory to /${shownPath(found.path)}: it is a ${found.kind}`,
      );
    }
    this.#add(inode, found.path);
    this.#children(inode, found.path, path, state);
  }

  #add(inode: Inode, path: string): void {
    const { owner, mode } = this.#options;
    const { kind, uid, gid, mtime, size, target, device, xattrs } = inode;
    const others = inode.names > 1 && kind !== 'directory' ? this.#namesOf(inode) : undefined;
    const first = others?.[0]?.path;
    if (first === path) return;
    const entry: CopyEntry = {
      path,
      kind,
      source: inode,
      mode: mode === undefined || kind === 'symlink' ? inode.mode : mode.of(inode.mode, kind === 'directory'),
      ...(owner ?? { uid, gid }),
      mtime,
      size,
      target,
      device,
      xattrs,
    };
    const read = this.#read;
    if (read !== undefined && kind === 'file') entry.contents = () => read(inode);
    if (first !== undefined) entry.link = first;
    others?.push(entry);
    this.#layer.add(entry);
  }

  /** The entries that have a file. The first of them is still there: another file may have got its name. */
  #namesOf(inode: Inode): CopyEntry[] {
    const entries = this.#links.get(inode) ?? [];
    this.#links.set(inode, entries);
    for (let [first] = entries; first !== undefined; [first] = entries) {
      if (this.#layer.find(first.path, false).made === first) break;
      entries.shift();
    }
    return entries;
  }
}

function notFound(path: string): BuildError {
  return new BuildError('bad-context', `"/${shownPath(path)}": not found`);
}
