// Measures and removes trees of files that a guest or an image made. Their names are bytes, they
// may be deeper than a path can say, and other processes may be changing them. No link is followed,
// and no mount is crossed.
import { basename, dirname } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import {
  type DirectoryCalls,
  DT_DIR,
  DT_UNKNOWN,
  directoryCalls,
  EACCES,
  EBUSY,
  EEXIST,
  EISDIR,
  ELOOP,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EPERM,
  EXDEV,
  STATX_ATTR_APPEND,
  STATX_ATTR_IMMUTABLE,
} from './directory-calls.js';
import { type Level, type Walker, walkTree } from './tree-walk.js';

/** Folders that are walked again because others fill them meanwhile. */
const MORE_WALKS = 100;
/** Characters of a name in a message. */
const SHOWN = 60;

export interface TreeSize {
  /** On the disk, as `du` counts: folders too, a file with several names once. */
  bytes: number;
  /** Files and folders, a file with several names once. */
  inodes: number;
  /** Folders that this user may not read, or that were moved while they were measured. */
  unread: number;
}

/** A tree is still there, at least in part. The message is one short line. */
export class TreeError extends Error {
  override readonly name = 'TreeError';

  /** @param code name of an errno: `EPERM` */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Measures a file, or a folder with everything in it. What does not exist has 0 bytes. */
export async function measureTree(path: string): Promise<TreeSize> {
  const calls = directoryCalls();
  const root = openRoot(calls, path);
  if (root === undefined) return { bytes: 0, inodes: 0, unread: 0 };
  const measure = new Measure(calls);
  try {
    if (measure.entry({ fd: root.parent }, calls.put(root.name), DT_UNKNOWN)) {
      const fd = measure.enter({ fd: root.parent }, root.name);
      if (fd >= 0) await walkTree(fd, root.name, measure);
    }
    return { bytes: measure.bytes, inodes: measure.inodes, unread: measure.unread };
  } finally {
    calls.close(root.parent);
  }
}

/**
 * Removes a file, or a folder with everything in it. Removes what it can before it throws. What
 * does not exist is removed.
 * @throws TreeError
 */
export async function removeTree(path: string): Promise<void> {
  const calls = directoryCalls();
  const root = openRoot(calls, path);
  if (root === undefined) return;
  const top: Level = { fd: root.parent, name: '', identity: '', folders: [], failed: false };
  const removal = new Removal(calls, top);
  try {
    if (removal.entry(top, calls.put(root.name), DT_UNKNOWN)) {
      const fd = removal.enter(top, root.name);
      if (fd >= 0) await walkTree(fd, root.name, removal);
    }
  } finally {
    calls.close(root.parent);
  }
  if (removal.failure !== undefined) throw removal.failure;
}

/** The parent of a path of ours, and its name there. Undefined if the parent does not exist. */
function openRoot(calls: DirectoryCalls, path: string): { parent: number; name: string } | undefined {
  const bytes = Buffer.from(path).toString('latin1');
  const parent = calls.openParent(dirname(bytes));
  if (parent >= 0) return { parent, name: basename(bytes) };
  if (parent === -ENOENT || parent === -ENOTDIR) return undefined;
  const [code, text] = describe(-parent);
  throw new TreeError(code, `${shown(basename(path))}: ${text}`);
}

/** Errors of a folder that was replaced or removed meanwhile. */
const GONE = [-ENOENT, -ENOTDIR, -ELOOP];

class Measure implements Walker {
  bytes = 0;
  inodes = 0;
  unread = 0;
  /** Files with several names that were counted. */
  readonly #counted = new Set<string>();
  readonly #calls: DirectoryCalls;

  constructor(calls: DirectoryCalls) {
    this.#calls = calls;
  }

  entry({ fd }: Pick<Level, 'fd'>, address: number, type: number): boolean {
    const status = this.#calls.status(fd, address);
    if (typeof status === 'number') {
      if (status !== -ENOENT) this.unread++;
      return false;
    }
    // A folder is counted when it is entered: another file system may be mounted on it.
    if (status.isDirectory) return true;
    if (type !== DT_DIR && status.links > 1) {
      if (this.#counted.has(status.identity)) return false;
      this.#counted.add(status.identity);
    }
    this.#count(status);
    return false;
  }

  enter({ fd }: Pick<Level, 'fd'>, name: string): number {
    const folder = this.#calls.openFolder(fd, name);
    if (folder >= 0) {
      this.#count(this.#calls.statusOf(folder));
      return folder;
    }
    if (folder !== -EXDEV && !GONE.includes(folder)) {
      this.#count(this.#calls.status(fd, this.#calls.put(name)));
      this.unread++;
    }
    return folder;
  }

  #count(status: ReturnType<DirectoryCalls['status']>): void {
    if (typeof status === 'number') return;
    this.bytes += status.size;
    this.inodes++;
  }

  unreadable(): void {
    this.unread++;
  }

  leave(): boolean {
    return false;
  }

  lost(): void {
    this.unread++;
  }
}

class Removal implements Walker {
  failure: TreeError | undefined;
  #walks = 0;
  readonly #calls: DirectoryCalls;
  /** The parent of the tree. Its mode is not ours to change. */
  readonly #top: Level;

  constructor(calls: DirectoryCalls, top: Level) {
    this.#calls = calls;
    this.#top = top;
  }

  entry(level: Level, address: number, type: number): boolean {
    if (type === DT_DIR) return true;
    let result = this.#calls.unlink(level.fd, address);
    if (result === -EACCES && this.#open(level)) result = this.#calls.unlink(level.fd, address);
    if (result === 0 || result === -ENOENT) return false;
    if (result === -EISDIR) return true;
    this.#fail(level, this.#calls.nameAt(address), result);
    return false;
  }

  enter(level: Level, name: string): number {
    let fd = this.#calls.openFolder(level.fd, name);
    if (fd === -EACCES) {
      this.#open(level);
      this.#calls.openNamed(level.fd, name);
      fd = this.#calls.openFolder(level.fd, name);
    }
    if (fd >= 0) return fd;
    if (GONE.includes(fd)) {
      // Another process has put a file in its place.
      if (fd !== -ENOENT) this.entry(level, this.#calls.put(name), DT_UNKNOWN);
      return fd;
    }
    this.#fail(level, name, fd);
    return fd;
  }

  unreadable(level: Level, errno: number): void {
    this.#fail(level, level.name, -errno);
  }

  leave(level: Level, above = this.#top): boolean {
    if (level.failed) {
      above.failed = true;
      return false;
    }
    let result = this.#calls.removeFolder(above.fd, level.name);
    if (result === -EACCES && this.#open(above)) result = this.#calls.removeFolder(above.fd, level.name);
    if (result === 0 || result === -ENOENT) return false;
    // Another process has put files into it, or has moved it and another is in its place.
    if ((result === -ENOTEMPTY || result === -EEXIST) && this.#walks++ < MORE_WALKS) return true;
    this.#fail(above, level.name, result);
    return false;
  }

  /** What was lost is found again when a folder above is not empty. */
  lost(): void {}

  /** Gives this user the rights that the removal needs. Returns false if that is not possible. */
  #open(level: Level): boolean {
    return level !== this.#top && this.#calls.open(level.fd) === 0;
  }

  #fail(level: Level, name: string, result: number): void {
    level.failed = true;
    this.failure ??= this.#explain(level, name, -result);
  }

  #explain(level: Level, name: string, errno: number): TreeError {
    const [code, text] = describe(errno);
    if (errno === EXDEV || errno === EBUSY) {
      return new TreeError(code, `a file system is mounted on ${shown(name)}: unmount it`);
    }
    if (errno === EPERM) {
      const states = [this.#calls.status(level.fd, this.#calls.put(name)), this.#calls.statusOf(level.fd)];
      const locked = states.some((state) => typeof state !== 'number' && (state.attributes & LOCKED) !== 0);
      if (locked) return new TreeError(code, `${shown(name)} is immutable or append-only: chattr -i -a it`);
    }
    return new TreeError(code, `${shown(name)}: ${text}`);
  }
}

const LOCKED = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND;

function describe(errno: number): [code: string, text: string] {
  return getSystemErrorMap().get(-errno) ?? [`${errno}`, `error ${errno}`];
}

/** A name in a message: short and printable. */
function shown(name: string): string {
  const text = name.replace(/[^\x20-\x7e]/g, '?');
  return JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}...` : text);
}
