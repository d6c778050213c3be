// Copies what an image has at a path to files of the host. The image is untrusted. Three things
// keep the copy inside its folder:
// - Every name is a single path component. The merge of the layers ensures that.
// - Everything is newly created in a folder that only this process uses.
// - No symbolic link is followed.

import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readSync,
  symlinkSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { errno, libcFunction } from '../../libc/index.js';
import { ImageError, toImageError } from '../errors.js';
import { PAGE_SIZE, writeAll } from '../layer/data-file.js';
import { findInode } from '../layer/find.js';
import { type Inode, mergeLayers } from '../layer/merge.js';
import { MAX_REPEATED_BYTES, MAX_REPEATED_NAMES } from '../limits.js';
import type { ImageContents } from '../types.js';
import { type Cover, checkRoom, dataRuns } from './extract-room.js';
import { readIndex } from './layers.js';
import { DATA, layerPath } from './layout.js';
import { damaged, layersOf } from './record.js';

const CHUNK = 1 << 20;
/** Extended attributes that mean the same on the host. */
const KEPT_XATTR = /^(user\.|security\.capability$|system\.posix_acl_)/;

const fsetxattr = libcFunction<[fd: number, name: string, value: Uint8Array, size: number, flags: number]>(
  'int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)',
);
const syncfs = libcFunction<[fd: number]>('int syncfs(int fd)');

/**
 * Implements `Store.open`. The layers are merged when the first directory is asked for, once for
 * all volumes of a container.
 */
export function openContents(home: string, digest: string): ImageContents {
  let opened: { root: Inode; data: string[] } | undefined;
  const repeats = new Repeats();
  return {
    async extract(path, folder, { covered = [], isCounted = false, signal, synced = true } = {}) {
      try {
        opened ??= readTree(home, digest);
        const inode = findInode(opened.root, latin1(path));
        if (inode === null) return false;
        if (inode.kind !== 'directory') throw new ImageError('corrupt', `${path} is not a directory in the image`);
        const cover = coverOf(covered.map(latin1));
        checkRoom({ directory: inode, data: opened.data, cover }, path, folder);
        const extraction = new Extraction(opened.data, isCounted ? repeats : undefined, signal);
        await extraction.directory(inode, Buffer.from(folder), cover);
        if (synced) syncFileSystem(folder);
        return true;
      } catch (error) {
        signal?.throwIfAborted();
        throw toImageError(error, `cannot copy ${path} out of the image`);
      }
    },
  };
}

/** @throws ImageError `corrupt` if the store is damaged */
function readTree(home: string, digest: string): { root: Inode; data: string[] } {
  const diffIds = layersOf(home, digest);
  const indexes = diffIds.map((diffId) => readIndex(layerPath(home, diffId)) ?? fail(digest));
  const root = mergeLayers(indexes.map((index) => index.entries()));
  return { root, data: diffIds.map((diffId) => join(layerPath(home, diffId), DATA)) };
}

function fail(digest: string): never {
  throw damaged(digest);
}

function latin1(path: string): string {
  return Buffer.from(path).toString('latin1');
}

function coverOf(paths: readonly string[]): Cover {
  const cover: Cover = new Map();
  for (const path of paths) addWay(cover, path.split('/'));
  return cover;
}

function addWay(cover: Cover, names: string[]): void {
  let at = cover;
  for (const [depth, name] of names.entries()) {
    const known = at.get(name);
    // Nothing below what is covered is copied either.
    if (known?.size === 0) return;
    const next: Cover = depth === names.length - 1 ? new Map() : (known ?? new Map());
    at.set(name, next);
    at = next;
  }
}

/** Counts what is copied again. Symbolic links can lead any number of volumes to one directory. */
class Repeats {
  readonly #copied = new Set<Inode>();
  #names = 0;
  #bytes = 0;

  /** Returns true if the inode was copied before. */
  add(inode: Inode): boolean {
    if (!this.#copied.has(inode)) {
      this.#copied.add(inode);
      return false;
    }
    if (++this.#names > MAX_REPEATED_NAMES) throw repeated(MAX_REPEATED_NAMES, 'names');
    for (const value of inode.xattrs?.values() ?? []) this.addBytes(value.length);
    return true;
  }

  addBytes(count: number): void {
    this.#bytes += count;
    if (this.#bytes > MAX_REPEATED_BYTES) throw repeated(MAX_REPEATED_BYTES, 'bytes');
  }
}

function repeated(limit: number, unit: string): ImageError {
  return new ImageError('too-large', `the image's VOLUMEs have more than ${limit} ${unit} in common`);
}

/** Writes the file system of a folder to the disk. */
function syncFileSystem(folder: string): void {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    if (syncfs(fd) !== 0) throw new ImageError('io', `syncfs failed with errno ${errno()}`);
  } finally {
    closeSync(fd);
  }
}

class Extraction {
  readonly #data: readonly string[];
  readonly #repeats: Repeats | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #isRoot = process.geteuid?.() === 0;
  /** One path of each file that has several names. */
  readonly #links = new Map<Inode, Buffer>();

  constructor(data: readonly string[], repeats: Repeats | undefined, signal: AbortSignal | undefined) {
    this.#data = data;
    this.#repeats = repeats;
    this.#signal = signal;
  }

  /** Fills an existing directory. */
  async directory(inode: Inode, path: Buffer, cover: Cover): Promise<void> {
    await this.#fill(inode, path, cover);
  }

  async #fill(inode: Inode, path: Buffer, cover?: Cover): Promise<void> {
    for (const [name, child] of inode.children) {
      this.#signal?.throwIfAborted();
      await this.#make(child.inode, Buffer.concat([path, Buffer.from(`/${name}`, 'latin1')]), cover?.get(name));
    }
    this.#setDirectory(inode, path);
  }

  #setDirectory(inode: Inode, path: Buffer): void {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      this.#setMetadata(inode, fd);
    } finally {
      closeSync(fd);
    }
  }

  async #make(inode: Inode, path: Buffer, cover?: Cover): Promise<void> {
    const before = this.#links.get(inode);
    if (before !== undefined) {
      linkSync(before, path);
      return;
    }
    const isRepeated = this.#repeats?.add(inode) ?? false;
    switch (inode.kind) {
      case 'directory':
        mkdirSync(path, { mode: 0o700 });
        return cover?.size === 0 ? this.#setDirectory(inode, path) : this.#fill(inode, path, cover);
      case 'symlink':
        symlinkSync(Buffer.from(inode.target, 'latin1'), path);
        if (this.#isRoot) lchownSync(path, inode.uid, inode.gid);
        lutimesSync(path, inode.mtime.seconds, inode.mtime.seconds);
        break;
      case 'file':
        await this.#file(inode, path, isRepeated);
        break;
      default:
        // Device nodes and pipes of a guest have no use on the host.
        return;
    }
    if (inode.names > 1) this.#links.set(inode, path);
  }

  async #file(inode: Inode, path: Buffer, isRepeated: boolean): Promise<void> {
    const count = (bytes: number) => {
      if (isRepeated) this.#repeats?.addBytes(bytes);
    };
    const output = await open(path, 'wx', 0o600);
    try {
      if (inode.size > 0) await copy(this.#data[inode.layer]!, inode.page * PAGE_SIZE, output, inode.size, count);
      this.#setMetadata(inode, output.fd);
    } finally {
      await output.close();
    }
  }

  /** Sets the mode after the owner: a change of owner clears the set-id bits. */
  #setMetadata({ xattrs, uid, gid, mode, mtime }: Inode, fd: number): void {
    if (this.#isRoot) fchownSync(fd, uid, gid);
    for (const [name, value] of xattrs ?? []) {
      // Fails if the host's file system or this user may not have the attribute. It is then left
      // out.
      if (KEPT_XATTR.test(name)) fsetxattr(fd, name, value, value.length, 0);
    }
    // Owners are not copied unless the caller is root. Set-id bits would then give a program the
    // rights of the wrong user.
    fchmodSync(fd, mode & (this.#isRoot ? 0o7777 : 0o1777));
    const time = mtime.seconds + mtime.nanoseconds / 1e9;
    futimesSync(fd, time, time);
  }
}

/**
 * Copies `size` bytes of a file from `position` to the beginning of a new file. Holes stay holes.
 * @param count is told how many bytes are written next
 */
async function copy(
  source: string,
  position: number,
  output: FileHandle,
  size: number,
  count: (bytes: number) => void,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(size, CHUNK));
  const input = openSync(source, 'r');
  try {
    await output.truncate(size);
    for (const run of dataRuns(input, position, position + size)) {
      for (let at = run.start; at < run.end; ) {
        const length = readSync(input, buffer, 0, Math.min(run.end - at, CHUNK), at);
        if (length === 0) throw new ImageError('corrupt', "a layer's data file is cut short: load the image again");
        count(length);
        await writeAll(output, buffer.subarray(0, length), at - position);
        at += length;
      }
    }
  } finally {
    closeSync(input);
  }
}
