// Where an image's files lie: in a directory, or in an archive that is read in place. Both give files by name.

import { createReadStream, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../errors.js';
import type { ArchiveIndex } from './archive.js';

const READ_SIZE = 1 << 20;

/** A file of an image: its size, and its bytes as often as they are asked for. */
export interface TreeFile {
  size: number;
  stream(): AsyncIterable<Buffer>;
}

export interface FileTree {
  /** What it is, for messages: the path the person gave. */
  path: string;
  /** The file of that name, or null. */
  find(name: string): TreeFile | null;
}

/** The files under a directory. Names come from this program, not from the image. */
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

/** A host file, streamed in large pieces. */
export function wholeFile(path: string, size: number): TreeFile {
  return { size, stream: () => createReadStream(path, { highWaterMark: READ_SIZE }) };
}

/** Reads a small file whole. */
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

/** The first bytes of a file, as many as there are up to `length`. */
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
