// Headers for a plain archive of regular files with short names (POSIX.1-2017 pax, "ustar
// Interchange Format").

import { BLOCK_SIZE } from './header.js';

const MAX_OCTAL_SIZE = 8 ** 11 - 1;

/** Two zero blocks, the end of an archive. */
export const END_MARK = Buffer.alloc(2 * BLOCK_SIZE);

/**
 * The header block of a regular file.
 *
 * @param name at most 100 bytes
 * @param size bytes. 8 GiB and more are written in GNU's base-256, which all readers know
 */
export function fileHeader(name: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK_SIZE);
  block.write(name, 0, 100, 'latin1');
  block.write('0000644\0', 100, 'latin1');
  block.write('0000000\0', 108, 'latin1');
  block.write('0000000\0', 116, 'latin1');
  if (size <= MAX_OCTAL_SIZE) block.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  // The time is always 0, so that archives of the same images have the same bytes.
  block.write('00000000000\0', 136, 'latin1');
  block.write('0', 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** The zeros after a file of `size` bytes. */
export function filePadding(size: number): Buffer {
  return Buffer.alloc((BLOCK_SIZE - (size % BLOCK_SIZE)) % BLOCK_SIZE);
}
