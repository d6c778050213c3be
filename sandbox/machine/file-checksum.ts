// CRC-32 of files, among them files of gigabytes that are mostly holes. It finds damage. Whoever
// may write such a file may write what its checksum is compared with, so no digest would find more.
// Most commands load this file and check none: zlib is loaded when it is used.
import { open } from 'node:fs/promises';
import { eachBlock } from './sparse-file.js';

export interface FileChecksum {
  /** Bytes. */
  size: number;
  /** An unsigned number of 32 bits. */
  crc32: number;
}

/** CRC-32 of the bytes that a file has now: what another process appends meanwhile is not read. */
export async function fileChecksum(path: string): Promise<FileChecksum> {
  const { crc32 } = await import('node:zlib');
  const file = await open(path, 'r');
  try {
    let [size, sum] = [0, 0];
    const { size: end } = await file.stat();
    for await (const chunk of end === 0 ? [] : file.createReadStream({ end: end - 1, autoClose: false })) {
      sum = crc32(chunk as Buffer, sum);
      size += (chunk as Buffer).length;
    }
    return { size, crc32: sum };
  } finally {
    await file.close();
  }
}

/**
 * CRC-32 of what a file has beside zeroes: of each block of 64 KiB that is not all zero, its offset
 * (8 bytes, little-endian) and its bytes; at last the file's size, likewise. Holes are not read, so
 * a copy whose holes differ has the same checksum.
 */
export async function sparseChecksum(path: string): Promise<FileChecksum> {
  const { crc32 } = await import('node:zlib');
  let sum = 0;
  const size = await eachBlock(path, (block, offset) => {
    sum = crc32(block, crc32(number(offset), sum));
  });
  return { size, crc32: crc32(number(size), sum) };
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
