// A layer's index: the entries of its tar, in order and without file contents, in a compact format
// that loads fast. The file is a 64-byte header, one 64-byte record for each entry, and a heap of
// names, link targets and extended attributes. Numbers are little-endian.
//
//   header  0 magic[8]  8 entries u32  12 heap bytes u32  16 data bytes u64
//          32 sha256[32] of everything that follows
//   record  0 kind u8  2 mode u16  4 uid u32  8 gid u32  12 mtime ns u32  16 mtime s i64
//          24 size u64  32 page u32  36 device u32  40 path u32  44 link u32  48 xattrs u32
//          52 xattr bytes u32  56 path bytes u16  58 link bytes u16
//   xattr   0 name bytes u16  2 value bytes u16  4 name, value

import { createHash } from 'node:crypto';
import { ImageError } from '../errors.js';
import { MAX_ENTRIES_PER_LAYER, MAX_INDEX_BYTES_PER_IMAGE, MAX_INDEX_HEAP_BYTES } from '../limits.js';
import type { Timestamp } from '../tar/pax.js';

/** The last byte is the format's version. */
const MAGIC = Buffer.from('tsvmidx\x01', 'latin1');
const HEADER_SIZE = 64;
const RECORD_SIZE = 64;
const TWO_32 = 2 ** 32;

export type LayerEntryKind =
  | 'file'
  | 'link'
  | 'symlink'
  | 'char'
  | 'block'
  | 'directory'
  | 'fifo'
  | 'whiteout'
  | 'opaque';

const KINDS: LayerEntryKind[] = ['file', 'link', 'symlink', 'char', 'block', 'directory', 'fifo', 'whiteout', 'opaque'];

/**
 * One change that a layer makes to the tree below it. Strings hold one byte for each character
 * (latin1).
 */
export interface LayerEntry {
  kind: LayerEntryKind;
  /**
   * Components joined by `/`, normalised, without a leading `/`. '' is the root. For a whiteout,
   * the path that it removes. For an opaque mark, the directory that it empties.
   */
  path: string;
  /**
   * A symlink's target, unchanged. A hard link's other name, normalised. '' for every other kind.
   */
  link: string;
  mode: number;
  uid: number;
  gid: number;
  mtime: Timestamp;
  /** Bytes of a regular file. */
  size: number;
  /** The page of the layer's data file where the contents begin. */
  page: number;
  /** A device node's number, in Linux's 32-bit encoding. */
  device: number;
  xattrs: Map<string, Buffer> | null;
}

/** Collects entries and writes them as an index. */
export class LayerIndexWriter {
  #records = Buffer.alloc(1024 * RECORD_SIZE);
  #count = 0;
  #heap = Buffer.alloc(64 * 1024);
  #heapFill = 0;

  /** Entries so far. */
  get count(): number {
    return this.#count;
  }

  add(entry: LayerEntry): void {
    if (this.#count === MAX_ENTRIES_PER_LAYER) {
      throw new ImageError('too-large', `the layer has more than ${MAX_ENTRIES_PER_LAYER} entries`);
    }
    const at = this.#count++ * RECORD_SIZE;
    if (at === this.#records.length) this.#records = Buffer.concat([this.#records], at * 2);
    const record = this.#records;
    record[at] = KINDS.indexOf(entry.kind);
    record.writeUInt16LE(entry.mode, at + 2);
    record.writeUInt32LE(entry.uid, at + 4);
    record.writeUInt32LE(entry.gid, at + 8);
    record.writeUInt32LE(entry.mtime.nanoseconds, at + 12);
    record.writeUInt32LE(modulo32(entry.mtime.seconds), at + 16);
    record.writeInt32LE(Math.floor(entry.mtime.seconds / TWO_32), at + 20);
    record.writeUInt32LE(modulo32(entry.size), at + 24);
    record.writeUInt32LE(Math.floor(entry.size / TWO_32), at + 28);
    record.writeUInt32LE(entry.page, at + 32);
    record.writeUInt32LE(entry.device, at + 36);
    record.writeUInt32LE(this.#addString(entry.path), at + 40);
    record.writeUInt32LE(this.#addString(entry.link), at + 44);
    record.writeUInt32LE(this.#heapFill, at + 48);
    record.writeUInt32LE(entry.xattrs ? this.#addXattrs(entry.xattrs) : 0, at + 52);
    record.writeUInt16LE(entry.path.length, at + 56);
    record.writeUInt16LE(entry.link.length, at + 58);
  }

  /**
   * Returns the index file.
   *
   * @param dataLength bytes of the layer's data file
   */
  finish(dataLength: number): Buffer {
    const header = Buffer.alloc(HEADER_SIZE);
    MAGIC.copy(header);
    header.writeUInt32LE(this.#count, 8);
    header.writeUInt32LE(this.#heapFill, 12);
    header.writeBigUInt64LE(BigInt(dataLength), 16);
    const records = this.#records.subarray(0, this.#count * RECORD_SIZE);
    const heap = this.#heap.subarray(0, this.#heapFill);
    createHash('sha256').update(records).update(heap).digest().copy(header, 32);
    return Buffer.concat([header, records, heap]);
  }

  #addXattrs(xattrs: Map<string, Buffer>): number {
    const start = this.#heapFill;
    for (const [name, value] of xattrs) {
      this.#reserve(4);
      this.#heap.writeUInt16LE(name.length, this.#heapFill);
      this.#heap.writeUInt16LE(value.length, this.#heapFill + 2);
      this.#heapFill += 4;
      this.#addString(name);
      this.#reserve(value.length);
      this.#heapFill += value.copy(this.#heap, this.#heapFill);
    }
    return this.#heapFill - start;
  }

  #addString(text: string): number {
    const at = this.#heapFill;
    this.#reserve(text.length);
    this.#heapFill += this.#heap.write(text, at, 'latin1');
    return at;
  }

  #reserve(bytes: number): void {
    const needed = this.#heapFill + bytes;
    if (needed > MAX_INDEX_HEAP_BYTES) {
      throw new ImageError('too-large', `the layer's names and attributes exceed ${MAX_INDEX_HEAP_BYTES} bytes`);
    }
    if (needed > this.#heap.length) this.#heap = Buffer.concat([this.#heap], Math.max(needed, this.#heap.length * 2));
  }
}

/** An index read from the store. */
export interface LayerIndex {
  /** Bytes of the index itself. */
  length: number;
  /** Bytes of the layer's data file, a multiple of 4096. */
  dataLength: number;
  /** Entries. */
  count: number;
  entries(): Iterable<LayerEntry>;
}

/**
 * Checks that the indexes of an image's layers together fit into the memory set aside for them.
 *
 * @throws ImageError `too-large`
 */
export function checkTotalLength(indexes: Iterable<Pick<LayerIndex, 'length'>>): void {
  let total = 0;
  for (const { length } of indexes) total += length;
  if (total > MAX_INDEX_BYTES_PER_IMAGE) {
    throw new ImageError(
      'too-large',
      `the names and attributes of the image's layers exceed ${MAX_INDEX_BYTES_PER_IMAGE} bytes`,
    );
  }
}

/**
 * Checks an index file and returns its entries.
 *
 * @throws ImageError `corrupt` if it has another version or has changed since it was written
 */
export function readLayerIndex(file: Buffer): LayerIndex {
  if (file.length < HEADER_SIZE || !file.subarray(0, 8).equals(MAGIC)) throw damaged('has an unknown format');
  const heapStart = HEADER_SIZE + file.readUInt32LE(8) * RECORD_SIZE;
  if (file.length !== heapStart + file.readUInt32LE(12)) throw damaged('has a wrong length');
  const sum = createHash('sha256').update(file.subarray(HEADER_SIZE)).digest();
  if (!sum.equals(file.subarray(32, HEADER_SIZE))) throw damaged('has a wrong checksum');
  return {
    length: file.length,
    dataLength: Number(file.readBigUInt64LE(16)),
    count: file.readUInt32LE(8),
    *entries() {
      for (let at = HEADER_SIZE; at < heapStart; at += RECORD_SIZE) yield readRecord(file, at, heapStart);
    },
  };
}

function readRecord(file: Buffer, at: number, heap: number): LayerEntry {
  const path = heap + file.readUInt32LE(at + 40);
  const link = heap + file.readUInt32LE(at + 44);
  const xattrs = heap + file.readUInt32LE(at + 48);
  const xattrBytes = file.readUInt32LE(at + 52);
  const kind = KINDS[file.readUInt8(at)];
  if (kind === undefined) throw damaged('has an entry of unknown kind');
  return {
    kind,
    mode: file.readUInt16LE(at + 2),
    uid: file.readUInt32LE(at + 4),
    gid: file.readUInt32LE(at + 8),
    mtime: {
      seconds: file.readInt32LE(at + 20) * TWO_32 + file.readUInt32LE(at + 16),
      nanoseconds: file.readUInt32LE(at + 12),
    },
    size: file.readUInt32LE(at + 28) * TWO_32 + file.readUInt32LE(at + 24),
    page: file.readUInt32LE(at + 32),
    device: file.readUInt32LE(at + 36),
    path: file.toString('latin1', path, path + file.readUInt16LE(at + 56)),
    link: file.toString('latin1', link, link + file.readUInt16LE(at + 58)),
    xattrs: xattrBytes > 0 ? readXattrs(file, xattrs, xattrs + xattrBytes) : null,
  };
}

function readXattrs(file: Buffer, start: number, end: number): Map<string, Buffer> {
  const xattrs = new Map<string, Buffer>();
  for (let at = start; at < end; ) {
    const value = at + 4 + file.readUInt16LE(at);
    const next = value + file.readUInt16LE(at + 2);
    xattrs.set(file.toString('latin1', at + 4, value), file.subarray(value, next));
    at = next;
  }
  return xattrs;
}

function modulo32(value: number): number {
  return value - Math.floor(value / TWO_32) * TWO_32;
}

function damaged(how: string): ImageError {
  return new ImageError('corrupt', `a layer's index in the store ${how}: load or import the image again`);
}
