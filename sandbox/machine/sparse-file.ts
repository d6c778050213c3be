// Files of gigabytes that are mostly holes: memory and disks of machines.
import { type FileHandle, open } from 'node:fs/promises';
import { getSystemErrorName } from 'node:util';
import { errno, libcFunction } from '../../libc/index.js';

/** Bytes. What is all zero in units of this is taken for a hole. */
const BLOCK = 64 * 1024;
/** Bytes that are read at once: whole blocks. */
const READ = 16 * BLOCK;
const ZEROES = Buffer.alloc(BLOCK);

const SEEK_DATA = 3;
const ENXIO = 6;

const lseek = libcFunction<[fd: number, offset: number, whence: number]>('long lseek(int, long, int)');

/**
 * Calls back with each block of a file that is not all zero, and its offset. Holes are not read.
 * @returns the size of the file
 * @throws Error of the file system
 */
export async function eachBlock(
  path: string,
  act: (block: Buffer, offset: number) => Promise<void> | void,
): Promise<number> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(READ);
    for (let at = dataFrom(file, 0, size); at < size; at = dataFrom(file, at, size)) {
      const { bytesRead } = await file.read(buffer, 0, READ, at);
      if (bytesRead === 0) throw new RangeError(`${path} became shorter while it was read`);
      const bytes = buffer.subarray(0, bytesRead);
      for (let from = 0; from < bytes.length; from += BLOCK) {
        const block = bytes.subarray(from, from + BLOCK);
        if (!block.equals(ZEROES.subarray(0, block.length))) await act(block, at + from);
      }
      at += bytesRead;
    }
    return size;
  } finally {
    await file.close();
  }
}

/** The start of the first block, from `at` on, that may hold other than zeroes; else the end. */
function dataFrom({ fd }: FileHandle, at: number, size: number): number {
  if (at >= size) return size;
  const data = lseek(fd, at, SEEK_DATA);
  if (data < 0) {
    const code = errno();
    if (code === ENXIO) return size;
    throw new Error(`lseek: ${getSystemErrorName(-code)}`);
  }
  return Math.max(at, Math.floor(data / BLOCK) * BLOCK);
}
