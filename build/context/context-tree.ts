// The files of a build context, a folder of the host, as a tree that is read when it is looked at.
// Another process may change the folder meanwhile. So a file is reached from the context's
// descriptor, one name at a time, and no link is followed: what a link leads to is found in the tree.
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { hasCode, messageOf } from '../../errors/index.js';
import type { Inode, InodeKind } from '../../images/build.js';
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import { BuildError } from '../build-error.js';
import { MAX_DEPTH, MAX_FILES } from '../limits.js';
import type { ContextFiles } from './context-files.js';
import type { IgnoreRules, RuleState } from './ignore.js';

const O_PATH = 0o10000000;
const CHUNK = 1 << 20;
const GIGA = 1_000_000_000n;

/** A context: a tree, and the contents of its files. */
export class ContextTree implements ContextFiles, Disposable {
  readonly root: Inode;
  readonly #folder: OwnedDescriptor;
  readonly #rules: IgnoreRules;
  /** The files that were found, with what they were then. */
  readonly #found = new Map<Inode, { path: string; status: BigIntStats }>();
  /** Names of one file are one inode. */
  readonly #links = new Map<string, Inode>();
  /** The directory opened last. */
  #last: { path: string; fd: number } | undefined;

  /**
   * @param folder path of the host
   * @throws BuildError `bad-context`
   */
  constructor(folder: string, rules: IgnoreRules) {
    this.#rules = rules;
    try {
      this.#folder = new OwnedDescriptor(openSync(folder, O_PATH | constants.O_DIRECTORY));
    } catch (cause) {
      throw new BuildError('bad-context', `unable to prepare context: ${messageOf(cause)}`, { cause });
    }
    this.root = this.#inode('', fstatSync(this.#folder.fd, { bigint: true }), rules.root);
  }

  [Symbol.dispose](): void {
    if (this.#last !== undefined) closeSync(this.#last.fd);
    this.#last = undefined;
    this.#folder[Symbol.dispose]();
  }

  /** The path of an inode, from the context's root. */
  pathOf(inode: Inode): string | undefined {
    return this.#found.get(inode)?.path;
  }

  /**
   * The contents of a regular file.
   * @throws BuildError `bad-context` if it changes meanwhile
   */
  *read(inode: Inode): Generator<Buffer> {
    const found = this.#found.get(inode);
    if (found === undefined) throw new RangeError('an inode of another tree');
    const fd = this.#open(found.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      this.#check(fd, found);
      let left = inode.size;
      while (left > 0) {
        const buffer = Buffer.allocUnsafe(Math.min(left, CHUNK));
        const length = readSync(fd, buffer, 0, buffer.length, null);
        if (length === 0) throw changed(found.path);
        left -= length;
        yield buffer.subarray(0, length);
      }
      this.#check(fd, found);
    } finally {
      closeSync(fd);
    }
  }

  /** The contents hashed for the cache and those copied later are the same. */
  #check(fd: number, { path, status }: { path: string; status: BigIntStats }): void {
    const now = fstatSync(fd, { bigint: true });
    const same = (['dev', 'ino', 'size', 'mode', 'mtimeNs', 'ctimeNs'] as const).every(
      (key) => now[key] === status[key],
    );
    if (!same) throw changed(path);
  }

  #inode(path: string, status: BigIntStats, state: RuleState): Inode {
    const kind = kindOf(status);
    if (kind === undefined) throw new BuildError('bad-context', `${shown(path)} in the context is a device`);
    const identity = `${status.dev} ${status.ino}`;
    const known = kind === 'directory' ? undefined : this.#links.get(identity);
    if (known !== undefined) {
      known.names++;
      return known;
    }
    if (this.#found.size >= MAX_FILES) {
      throw new BuildError('too-large', `the context has more than ${MAX_FILES} files: exclude some in .dockerignore`);
    }
    const context = this;
    let children: Inode['children'] | undefined;
    const seconds = status.mtimeNs / GIGA - (status.mtimeNs % GIGA < 0n ? 1n : 0n);
    const inode: Inode = {
      kind,
      mode: Number(status.mode) & 0o7777,
      uid: 0,
      gid: 0,
      mtime: { seconds: Number(seconds), nanoseconds: Number(status.mtimeNs - seconds * GIGA) },
      xattrs: null,
      names: 1,
      size: kind === 'file' ? Number(status.size) : 0,
      layer: 0,
      page: 0,
      target: kind === 'symlink' ? this.#target(path) : '',
      device: 0,
      get children() {
        children ??= kind === 'directory' ? context.#children(path, state) : new Map();
        return children;
      },
    };
    this.#found.set(inode, { path, status });
    if (status.nlink > 1n && kind !== 'directory') this.#links.set(identity, inode);
    return inode;
  }

  #children(path: string, state: RuleState): Inode['children'] {
    const children: Inode['children'] = new Map();
    if (path.split('/').length > MAX_DEPTH) {
      throw new BuildError('too-large', `the context is deeper than ${MAX_DEPTH} directories: ${shown(path)}`);
    }
    const fd = this.#directory(path);
    let names: string[];
    try {
      names = readdirSync(`/proc/self/fd/${fd}/`, 'latin1').sort();
    } catch (cause) {
      throw unreadable(path, cause);
    }
    for (const name of names) {
      const childPath = path === '' ? name : `${path}/${name}`;
      const { isIgnored, state: childState } = this.#rules.check(childPath, state);
      if (isIgnored && !this.#rules.hasExceptions) continue;
      const status = this.#status(childPath, name);
      if (status === undefined || status.isSocket()) continue;
      if (isIgnored && !status.isDirectory()) continue;
      const inode = this.#inode(childPath, status, childState);
      // An ignored directory is there for what is seen in it.
      if (isIgnored && inode.children.size === 0) continue;
      children.set(name, { inode, layer: 0 });
    }
    return children;
  }

  #status(path: string, name: string): BigIntStats | undefined {
    const place = Buffer.from(`/proc/self/fd/${this.#directory(parentOf(path))}/${name}`, 'latin1');
    try {
      return lstatSync(place, { bigint: true });
    } catch (cause) {
      // It was removed meanwhile.
      if (hasCode(cause, 'ENOENT')) return undefined;
      throw unreadable(path, cause);
    }
  }

  #target(path: string): string {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const place = Buffer.from(`/proc/self/fd/${this.#directory(parentOf(path))}/${name}`, 'latin1');
    try {
      return readlinkSync(place, 'latin1');
    } catch (cause) {
      throw unreadable(path, cause);
    }
  }

  #open(path: string, flags: number): number {
    const name = path.slice(path.lastIndexOf('/') + 1);
    try {
      return openSync(Buffer.from(`/proc/self/fd/${this.#directory(parentOf(path))}/${name}`, 'latin1'), flags);
    } catch (cause) {
      throw unreadable(path, cause);
    }
  }

  /** A descriptor of a directory, valid until the next call. */
  #directory(path: string): number {
    if (path === '') return this.#folder.fd;
    if (this.#last?.path === path) return this.#last.fd;
    let at = this.#folder.fd;
    try {
      for (const name of path.split('/')) {
        const place = Buffer.from(`/proc/self/fd/${at}/${name}`, 'latin1');
        const next = openSync(place, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
        if (at !== this.#folder.fd) closeSync(at);
        at = next;
      }
    } catch (cause) {
      if (at !== this.#folder.fd) closeSync(at);
      throw unreadable(path, cause);
    }
    if (this.#last !== undefined) closeSync(this.#last.fd);
    this.#last = { path, fd: at };
    return at;
  }
}

function kindOf(status: BigIntStats): InodeKind | undefined {
  if (status.isFile()) return 'file';
  if (status.isDirectory()) return 'directory';
  if (status.isSymbolicLink()) return 'symlink';
  if (status.isFIFO()) return 'fifo';
  return undefined;
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

/** Bytes as text. */
function shown(path: string): string {
  return Buffer.from(path, 'latin1').toString();
}

function unreadable(path: string, cause: unknown): BuildError {
  if (cause instanceof BuildError) return cause;
  const reason = messageOf(cause).replace(/\/proc\/self\/fd\/\d+\/?/g, '');
  return new BuildError('bad-context', `cannot read ${shown(path)} of the context: ${reason}`, { cause });
}

function changed(path: string): BuildError {
  return new BuildError('bad-context', `${shown(path)} of the context changed while it was read: build again`);
}
