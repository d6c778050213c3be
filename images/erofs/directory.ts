// A directory's data: blocks of dirents. A block is an array of fixed-size entries followed by
// their names. Names are sorted by their bytes through all blocks, because Linux searches them by
// bisection (Linux, fs/erofs/dir.c and namei.c).

import { BLOCK_SIZE, DIRENT_SIZE } from './format.js';

export interface Dirent {
  /** One byte for each character (latin1). */
  name: string;
  nid: number;
  fileType: number;
}

/** How sorted names are divided into blocks. */
export interface DirectoryShape {
  /** The number of names in each block. */
  counts: number[];
  /** Bytes of the directory: whole blocks, except the last. */
  size: number;
}

/** Orders names by their bytes, as memcmp does. */
export function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Divides names into blocks without writing them: sizes must be known before addresses are. */
export function shapeDirectory(sortedNames: string[]): DirectoryShape {
  const counts: number[] = [];
  let used = 0;
  let count = 0;
  for (const name of sortedNames) {
    const size = DIRENT_SIZE + name.length;
    if (used + size > BLOCK_SIZE) {
      counts.push(count);
      used = 0;
      count = 0;
    }
    used += size;
    count++;
  }
  counts.push(count);
  return { counts, size: (counts.length - 1) * BLOCK_SIZE + used };
}

/**
 * Writes a block of `count` dirents, starting with `dirents[first]`, at `offset`. Nothing pads the
 * names after the last one.
 */
export function writeDirentBlock(into: Buffer, offset: number, dirents: Dirent[], first: number, count: number): void {
  let nameOffset = count * DIRENT_SIZE;
  for (const [i, { name, nid, fileType }] of dirents.slice(first, first + count).entries()) {
    const at = offset + i * DIRENT_SIZE;
    into.writeUInt32LE(nid % 2 ** 32, at);
    into.writeUInt32LE(Math.floor(nid / 2 ** 32), at + 4);
    into.writeUInt16LE(nameOffset, at + 8);
    into[at + 10] = fileType;
    into.write(name, offset + nameOffset, 'latin1');
    nameOffset += name.length;
  }
}
