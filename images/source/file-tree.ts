// The files of an image by name, from a directory or from an archive that is read in place.

import { createReadStream, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../errors.js';
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

/** The files in a directory. Safe only because this program, not the image, chooses the names. */
export function directoryTree(path: string): FileTree {
  return {
    path,
    find(name) {
      const file = join(path, name);
      const stat = statSync(file, { throwIfNoEntry: false });
      return stat?.isFile() ? wholeFile(file, stat.size) : null;
    },
  };
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
