// Which ranges of a sparse file are stored; the rest is zeros. Two formats of such a table are read
// (GNU tar manual, "Storing Sparse Files"): that of the old GNU header, and that of PAX format 1.0,
// which precedes the data.

import { ImageError } from '../errors.js';
import { MAX_SPARSE_SEGMENTS } from '../limits.js';
import { BLOCK_SIZE, badTar, integer } from './header.js';

/** A stored range of a sparse file, in bytes of the file. */
export interface Segment {
  offset: number;
  length: number;
}

const OLD_GNU_TABLE = 386;
const OLD_GNU_TABLE_ENTRIES = 4;
const OLD_GNU_EXTENDED = 482;
const OLD_GNU_REAL_SIZE = 483;
const EXTENSION_ENTRIES = 21;
const EXTENSION_EXTENDED = 504;

/**
 * The table of an old GNU sparse header: its first segments, and whether extension blocks follow.
 */
export function oldGnuTable(buffer: Buffer, offset: number): { segments: Segment[]; more: boolean; realSize: number } {
  const segments: Segment[] = [];
  readTable(buffer, offset + OLD_GNU_TABLE, OLD_GNU_TABLE_ENTRIES, segments);
  const realSize = integer(buffer, offset + OLD_GNU_REAL_SIZE, 12, 'real size');
  return { segments, more: buffer[offset + OLD_GNU_EXTENDED] !== 0, realSize };
}

/** Adds the segments of an extension block. Returns true if another block follows. */
export function oldGnuExtension(buffer: Buffer, offset: number, segments: Segment[]): boolean {
  readTable(buffer, offset, EXTENSION_ENTRIES, segments);
  if (segments.length > MAX_SPARSE_SEGMENTS) throw tooManySegments();
  return buffer[offset + EXTENSION_EXTENDED] !== 0;
}

function readTable(buffer: Buffer, offset: number, entries: number, segments: Segment[]): void {
  for (let at = offset; at < offset + entries * 24; at += 24) {
    // An unused slot ends the table.
    if (buffer[at] === 0) return;
    segments.push({
      offset: integer(buffer, at, 12, 'sparse offset'),
      length: integer(buffer, at + 12, 12, 'sparse length'),
    });
  }
}

/**
 * Reads the table of format 1.0 from the blocks in front of a file's data, one block at a time. It
 * is a list of decimal numbers, each followed by a newline. The first is the number of segments.
 * The table ends at a block boundary.
 */
export class PaxSparseTable {
  readonly #numbers: number[] = [];
  #digits = '';

  /** Takes the next block. Returns the segments once they are complete, and null before. */
  push(buffer: Buffer, offset: number): Segment[] | null {
    for (let i = offset; i < offset + BLOCK_SIZE; i++) {
      const byte = buffer[i]!;
      if (byte === 0x0a) {
        if (this.#digits === '') throw badTar('a malformed sparse table');
        this.#numbers.push(Number(this.#digits));
        this.#digits = '';
        const [count = 0] = this.#numbers;
        if (count > MAX_SPARSE_SEGMENTS) throw tooManySegments();
        if (this.#numbers.length === 1 + 2 * count) return pairs(this.#numbers.slice(1));
      } else {
        if (byte < 0x30 || byte > 0x39 || this.#digits.length >= 15) throw badTar('a malformed sparse table');
        this.#digits += String.fromCharCode(byte);
      }
    }
    return null;
  }
}

/** Offsets and lengths in turn, as segments. */
export function pairs(numbers: number[]): Segment[] {
  if (numbers.length % 2 !== 0) throw badTar('a malformed sparse table');
  if (numbers.length / 2 > MAX_SPARSE_SEGMENTS) throw tooManySegments();
  const segments: Segment[] = [];
  for (let i = 0; i < numbers.length; i += 2) segments.push({ offset: numbers[i]!, length: numbers[i + 1]! });
  return segments;
}

/**
 * Checks a table against the file's size and the number of stored bytes: segments must be in order,
 * must not overlap, and must lie inside the file. Returns the segments without empty ones, which
 * writers use to mark the file's end.
 *
 * @throws ImageError `corrupt`
 */
export function checkSegments(segments: Segment[], realSize: number, storedSize: number): Segment[] {
  let end = 0;
  let stored = 0;
  for (const { offset, length } of segments) {
    if (offset < end || length < 0 || offset + length > realSize)
      throw badTar('a sparse table that contradicts itself');
    end = offset + length;
    stored += length;
  }
  if (stored !== storedSize) throw badTar('a sparse table that does not match the data');
  return segments.filter((segment) => segment.length > 0);
}

function tooManySegments(): ImageError {
  return new ImageError('too-large', `a sparse file has more than ${MAX_SPARSE_SEGMENTS} segments`);
}
