// SHA-256 of files, among them files of gigabytes that are mostly holes.
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { eachBlock } from './sparse-file.js';

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
  const hash = createHash('sha256');
  const size = await eachBlock(path, (block, offset) => {
    hash.update(number(offset));
    hash.update(block);
  });
  hash.update(number(size));
  return { size, sha256: hash.digest('hex') };
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
