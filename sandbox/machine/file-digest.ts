// SHA-256 of files, among them files of gigabytes that are mostly holes.
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import * as libc from '../../vmm/host/libc.js';

const BLOCK = 64 * 1024;
/** Bytes that are read at once: whole blocks. */
const READ = 16 * BLOCK;
const ZEROES = Buffer.alloc(BLOCK);

export interface FileDigest {
  /** Bytes. */
  size: number;
  /** Hexadecimal digits. */
  sha256: string;
}

/** SHA-256 of the bytes that a file has now: what another process appends meanwhile is not read. */
export async function fileDigest(path: string): Promise<FileDigest> {
  const file = await open(path, 'r');
  try {
    const hash = createHash('sha256');
    const { size: end } = await file.stat();
    let size = 0;
    for await (const chunk of end === 0 ? [] : file.createReadStream({ end: end - 1, autoClose: false })) {
      hash.update(chunk as Buffer);
      size += (chunk as Buffer).length;
    }
    return { size, sha256: hash.digest('hex') };
  } finally {
    await file.close();
  }
}

/**
 * SHA-256 of what a file has beside zeroes: of each block of 64 KiB that is not all zero, its offset
 * (8 bytes, little-endian) and its bytes; at last the file's size, likewise. Holes are not read, so
 * a copy whose holes differ has the same digest.
 */
export async function sparseDigest(path: string): Promise<FileDigest> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const hash = createHash('sha256');
    const buffer = Buffer.alloc(READ);
    for (let at = dataFrom(file, 0, size); at < size; at = dataFrom(file, at, size)) {
      const { bytesRead } = await file.read(buffer, 0, READ, at);
      if (bytesRead === 0) throw new RangeError(`${path} became shorter while it was read`);
      hashBlocks(hash, buffer.subarray(0, bytesRead), at);
      at += bytesRead;
    }
    hash.update(number(size));
    return { size, sha256: hash.digest('hex') };
  } finally {
    await file.close();
  }
}

/** The start of the first block, from `at` on, that may hold other than zeroes; else the end. */
function dataFrom({ fd }: FileHandle, at: number, size: number): number {
  if (at >= size) return size;
  const data = libc.lseek(fd, at, libc.SEEK_DATA);
  if (data < 0 && libc.errno() === libc.ENXIO) return size;
  return Math.max(at, Math.floor(libc.check(data, 'lseek') / BLOCK) * BLOCK);
}

function hashBlocks(hash: Hash, bytes: Buffer, offset: number): void {
  for (let at = 0; at < bytes.length; at += BLOCK) {
    const block = bytes.subarray(at, at + BLOCK);
    if (block.equals(ZEROES.subarray(0, block.length))) continue;
    hash.update(number(offset + at));
    hash.update(block);
  }
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
