// One 512-byte tar header block, in any of the formats of layers: V7, ustar, PAX's ustar, GNU and
// star (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"). Names
// stay bytes: each character of a string here is one byte (latin1), because a file name need not be
// UTF-8.

import { ImageError } from '../errors.js';

export const BLOCK_SIZE = 512;

/** The fields of a header block, before extended headers override them. */
export interface TarHeader {
  name: string;
  /** The typeflag character. '\0', as in V7 archives, is kept. */
  typeflag: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  /** Seconds since 1970, negative before. */
  mtime: number;
  linkname: string;
  devMajor: number;
  devMinor: number;
  gnu: boolean;
}

/** The error of a damaged tar. */
export function badTar(what: string): ImageError {
  return new ImageError('corrupt', `the tar is damaged: ${what}`);
}

/** Returns true if the 512 bytes at `offset` are all zero: half of the end mark. */
export function isZeroBlock(buffer: Buffer, offset: number): boolean {
  for (let i = offset; i < offset + BLOCK_SIZE; i++) if (buffer[i] !== 0) return false;
  return true;
}

/** Returns true if the 512 bytes at `offset` have the checksum of a tar header. */
function isHeader(buffer: Buffer, offset: number): boolean {
  // The checksum field itself counts as spaces.
  let sum = 8 * 0x20;
  let high = 0;
  for (let i = offset; i < offset + BLOCK_SIZE; i++) {
    sum += buffer[i]!;
    high += buffer[i]! >> 7;
  }
  for (let i = offset + 148; i < offset + 156; i++) {
    sum -= buffer[i]!;
    high -= buffer[i]! >> 7;
  }
  const stored = octal(buffer, offset + 148, 8);
  // Some old writers summed signed chars.
  return stored === sum || stored === sum - 256 * high;
}

/** Returns true if a file that begins with these bytes is a tar with something in it. */
export function beginsTar(start: Buffer): boolean {
  return start.length >= BLOCK_SIZE && !isZeroBlock(start, 0) && isHeader(start, 0);
}

/**
 * Decodes the header block at `offset`.
 *
 * @throws ImageError `corrupt` if the checksum is wrong or a numeric field is not a number
 */
export function parseHeader(buffer: Buffer, offset: number): TarHeader {
  if (!isHeader(buffer, offset)) throw badTar('a header has a wrong checksum');
  const magic = buffer.toString('latin1', offset + 257, offset + 265);
  const ustar = magic.startsWith('ustar\0');
  const gnu = magic === 'ustar  \0';
  let name = text(buffer, offset, 100);
  if (ustar) {
    const star = buffer.toString('latin1', offset + 508, offset + 512) === 'tar\0';
    const prefix = text(buffer, offset + 345, star ? 131 : 155);
    if (prefix !== '') name = `${prefix}/${name}`;
  }
  return {
    name,
    typeflag: buffer.toString('latin1', offset + 156, offset + 157),
    mode: integer(buffer, offset + 100, 8, 'mode'),
    uid: integer(buffer, offset + 108, 8, 'uid'),
    gid: integer(buffer, offset + 116, 8, 'gid'),
    size: integer(buffer, offset + 124, 12, 'size'),
    mtime: integer(buffer, offset + 136, 12, 'mtime'),
    linkname: text(buffer, offset + 157, 100),
    devMajor: ustar || gnu ? integer(buffer, offset + 329, 8, 'devmajor') : 0,
    devMinor: ustar || gnu ? integer(buffer, offset + 337, 8, 'devminor') : 0,
    gnu,
  };
}

/** A text field, up to its first NUL. */
export function text(buffer: Buffer, offset: number, length: number): string {
  const end = buffer.indexOf(0, offset);
  return buffer.toString('latin1', offset, end === -1 ? offset + length : Math.min(end, offset + length));
}

/**
 * A numeric field: octal digits between spaces and NULs. If the first bit is set, it is a
 * big-endian two's complement number (GNU's "base-256").
 */
export function integer(buffer: Buffer, offset: number, length: number, field: string): number {
  const value = buffer[offset]! & 0x80 ? base256(buffer, offset, length) : octal(buffer, offset, length);
  if (!Number.isSafeInteger(value)) throw badTar(`a header's ${field} is not a number`);
  return value;
}

function octal(buffer: Buffer, offset: number, length: number): number {
  let start = offset;
  let end = offset + length;
  while (start < end && (buffer[start] === 0x20 || buffer[start] === 0)) start++;
  for (let i = start; i < end; i++) if (buffer[i] === 0) end = i;
  while (end > start && buffer[end - 1] === 0x20) end--;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = buffer[i]! - 0x30;
    if (digit < 0 || digit > 7) return Number.NaN;
    value = value * 8 + digit;
  }
  return value;
}

function base256(buffer: Buffer, offset: number, length: number): number {
  const negative = (buffer[offset]! & 0x40) !== 0;
  const flip = negative ? 0xff : 0;
  let value = (buffer[offset]! ^ flip) & 0x3f;
  for (let i = offset + 1; i < offset + length; i++) value = value * 256 + (buffer[i]! ^ flip);
  return negative ? -value - 1 : value;
}
