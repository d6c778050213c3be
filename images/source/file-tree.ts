// The files of an image by name, from a directory or from an archive that is read in place.

import { closeSync, constants, createReadStream, fstatSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { hasCode, messageOf } from '../../errors/index.js';
import { O_PATH, openat2, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS } from '../../libc/openat2.js';
import { ImageError } from '../errors.js';
import { printable } from '../layer/convert.js';
import type { ArchiveIndex } from './archive.js';

const READ_SIZE = 1 << 20;

export interface TreeFile {
  /** Bytes. */
  size: number;
  /** Reads the whole file. Can be called more than once. */
  stream(): AsyncIterable<Buffer>;
}

export interface FileTree {
  /** The path that the user gave, for messages. */
  path: string;
  /** Returns the file with this name, or null. */
  find(name: string): TreeFile | null;
}

/**
 * The files in a directory. The image chooses some of the names, and a container may have written
 * the directory: neither a name nor a link leads out of it.
 */
export function directoryTree(path: string): FileTree {
  return {
    path,
    find(name) {
      const found = openBeneath(path, name);
      if (found === undefined) return null;
      closeSync(found.fd);
      return { size: found.size, stream: () => streamBeneath(path, name) };
    },
  };
}

/**
 * Opens a regular file of a directory; undefined if there is none of that name.
 * @throws ImageError `corrupt` for a name or a link that leads out of it
 */
function openBeneath(path: string, name: string): { fd: number; size: number } | undefined {
  const folder = openSync(path, O_PATH);
  try {
    const fd = openat2(
      folder,
      name,
      constants.O_RDONLY | constants.O_NONBLOCK,
      RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    );
    const status = fstatSync(fd);
    if (status.isFile()) return { fd, size: status.size };
    closeSync(fd);
    return undefined;
  } catch (cause) {
    if (hasCode(cause, 'ENOENT', 'ENOTDIR', 'ENXIO', 'ELOOP')) return undefined;
    const why = hasCode(cause, 'EXDEV') ? 'it leads out of the folder' : messageOf(cause);
    throw new ImageError('corrupt', `cannot read ${printable(name)} of ${path}: ${why}`, { cause });
  } finally {
    closeSync(folder);
  }
}

async function* streamBeneath(path: string, name: string): AsyncGenerator<Buffer> {
  const found = openBeneath(path, name);
  if (found === undefined) throw new ImageError('corrupt', `${printable(name)} of ${path} is gone`);
  yield* createReadStream('', { fd: found.fd, highWaterMark: READ_SIZE });
}

/** The files in an uncompressed tar. */
export function archiveTree(path: string, index: ArchiveIndex): FileTree {
  return {
    path,
    find(name) {
      const place = index.find(name);
      return place && { size: place.size, stream: () => range(index.path, place.offset, place.size) };
    },
  };
}

/** A file of the host, streamed in large chunks. */
export function wholeFile(path: string, size: number): TreeFile {
  return { size, stream: () => createReadStream(path, { highWaterMark: READ_SIZE }) };
}

/** Reads a whole file of at most `limit` bytes. @throws ImageError `too-large` */
export async function readSmall(file: TreeFile, limit: number, what: string): Promise<Buffer> {
  if (file.size > limit) throw new ImageError('too-large', `${what} is ${file.size} bytes; the limit is ${limit}`);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of file.stream()) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > limit) throw new ImageError('too-large', `${what} exceeds ${limit} bytes`);
  }
  return Buffer.concat(chunks);
}

/** Reads the first `length` bytes of a file, or all if it is shorter. */
export async function readStart(path: string, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function range(path: string, offset: number, size: number): AsyncIterable<Buffer> {
  if (size === 0) return empty();
  return createReadStream(path, { start: offset, end: offset + size - 1, highWaterMark: READ_SIZE });
}

async function* empty(): AsyncGenerator<Buffer> {}
