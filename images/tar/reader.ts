// A streaming tar reader: bytes are pushed in, entries and ranges of file data come out. It reads
// the formats of layers (ustar, PAX, GNU, star), keeps names and attribute values as bytes, and
// copies no file data. The archive is hostile: every length is checked before memory is kept for
// it.

import { ImageError } from '../errors.js';
import { MAX_FILE_BYTES } from '../limits.js';
import { ExtendedHeaders } from './extended-headers.js';
import { BLOCK_SIZE, badTar, isZeroBlock, parseHeader, type TarHeader } from './header.js';
import type { PaxSparse, Timestamp } from './pax.js';
import { checkSegments, oldGnuExtension, oldGnuTable, PaxSparseTable, pairs, type Segment } from './sparse.js';

export type TarEntryType = 'file' | 'link' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo';

/** One entry, extended headers applied. Strings hold one byte for each character (latin1). */
export interface TarEntry {
  type: TarEntryType;
  /** As the archive spells it: neither cleaned nor safe. */
  path: string;
  linkname: string;
  /** Permission, set-id and sticky bits: 12 bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of the file, holes included. 0 for everything but a regular file. */
  size: number;
  mtime: Timestamp;
  devMajor: number;
  devMinor: number;
  xattrs: Map<string, Buffer> | null;
}

/**
 * The reader's callbacks, called in the archive's order. A buffer is valid only during the call.
 */
export interface TarSink {
  entry(entry: TarEntry): void;
  /**
   * Bytes of the last entry, which belong at `offset` of its file. Offsets only grow; gaps are
   * holes.
   */
  data(offset: number, bytes: Buffer): void;
}

const TYPES: Record<string, TarEntryType> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
};

/** The meaning of the archive's next bytes. */
type State = 'header' | 'extended' | 'sparse-extension' | 'sparse-table' | 'data' | 'skip' | 'end';

export class TarReader {
  readonly #sink: TarSink;
  readonly #block = Buffer.alloc(BLOCK_SIZE);
  #blockFill = 0;
  #state: State = 'header';
  #sawZeroBlock = false;
  #sawHeader = false;

  /** Bytes left of the current body, and of the padding after it. */
  #remaining = 0;
  #padding = 0;

  readonly #extended = new ExtendedHeaders();

  /**
   * The sparse file whose table is being read, and the segments of the file whose data is being
   * read.
   */
  #sparseEntry: TarEntry | null = null;
  #sparseTable = new PaxSparseTable();
  #segments: Segment[] = [];
  #segment = 0;
  #segmentAt = 0;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /**
   * Takes the next bytes of the archive, any number of them.
   *
   * @throws ImageError `corrupt`, `unsupported` or `too-large`. The reader cannot be used
   *   afterwards.
   */
  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      switch (this.#state) {
        case 'header':
        case 'sparse-extension':
        case 'sparse-table':
          at = this.#takeBlock(chunk, at);
          break;
        case 'extended':
        case 'data':
        case 'skip': {
          const length = Math.min(this.#remaining, chunk.length - at);
          if (length > 0) this.#takeBody(chunk.subarray(at, at + length));
          this.#remaining -= length;
          at += length;
          if (this.#remaining === 0) at += this.#takePadding(chunk.length - at);
          break;
        }
        case 'end':
          // What follows the end mark is padding to the writer's record size.
          return;
      }
    }
  }

  /**
   * Skips the rest of the current file's contents and padding, for a source that can seek.
   *
   * @returns the number of bytes that the source has to skip
   */
  skipFile(): number {
    if (this.#state !== 'data') return 0;
    const length = this.#remaining + this.#padding;
    this.#remaining = 0;
    this.#padding = 0;
    this.#state = 'header';
    return length;
  }

  /** Ends the archive. @throws ImageError if it ends in the middle of an entry */
  end(): void {
    if (this.#state === 'end') return;
    if (!this.#sawHeader && !this.#sawZeroBlock) throw new ImageError('not-an-image', 'it is not a tar archive');
    if (this.#state !== 'header' || this.#blockFill !== 0 || this.#extended.pending) {
      throw badTar('it ends in the middle of an entry');
    }
  }

  /** Gathers a 512-byte block. It is not copied if the chunk has all of it. */
  #takeBlock(chunk: Buffer, at: number): number {
    if (this.#blockFill === 0 && chunk.length - at >= BLOCK_SIZE) {
      this.#onBlock(chunk, at);
      return at + BLOCK_SIZE;
    }
    const length = Math.min(BLOCK_SIZE - this.#blockFill, chunk.length - at);
    chunk.copy(this.#block, this.#blockFill, at, at + length);
    this.#blockFill += length;
    if (this.#blockFill === BLOCK_SIZE) {
      this.#blockFill = 0;
      this.#onBlock(this.#block, 0);
    }
    return at + length;
  }

  #onBlock(buffer: Buffer, offset: number): void {
    if (this.#state === 'header') {
      this.#onHeader(buffer, offset);
    } else if (this.#state === 'sparse-extension') {
      if (!oldGnuExtension(buffer, offset, this.#segments)) this.#startSparse(this.#segments);
    } else {
      this.#remaining -= BLOCK_SIZE;
      if (this.#remaining < 0) throw badTar('a sparse table longer than its file');
      const segments = this.#sparseTable.push(buffer, offset);
      if (segments) this.#startSparse(segments);
    }
  }

  #onHeader(buffer: Buffer, offset: number): void {
    if (isZeroBlock(buffer, offset)) {
      if (this.#extended.pending) throw badTar('it ends in the middle of an entry');
      if (this.#sawZeroBlock) this.#state = 'end';
      this.#sawZeroBlock = true;
      return;
    }
    if (this.#sawZeroBlock) throw badTar('data after half of an end mark');
    const header = this.#parse(buffer, offset);
    if (header.size < 0) throw badTar('a negative size');
    if (ExtendedHeaders.is(header.typeflag)) {
      this.#extended.begin(header);
      this.#startBody('extended', header.size);
      if (header.size === 0) this.#extended.end();
      return;
    }
    if (header.typeflag === 'V') {
      // A volume label names the archive. It is not a file.
      this.#startBody('skip', header.size);
      return;
    }
    this.#onEntry(header, buffer, offset);
  }

  #parse(buffer: Buffer, offset: number): TarHeader {
    if (this.#sawHeader) return parseHeader(buffer, offset);
    try {
      const header = parseHeader(buffer, offset);
      this.#sawHeader = true;
      return header;
    } catch (cause) {
      throw new ImageError('not-an-image', 'it is not a tar archive', { cause });
    }
  }

  #onEntry(header: TarHeader, buffer: Buffer, offset: number): void {
    const { pax, longName, longLink } = this.#extended.take();
    const type = TYPES[header.typeflag];
    if (type === undefined) {
      throw new ImageError('unsupported', `the tar has an entry of unknown type ${JSON.stringify(header.typeflag)}`);
    }
    const path = longName ?? pax.path ?? header.name;
    const entry: TarEntry = {
      // V7 has no directory type: a name that ends with a slash is a directory.
      type: header.typeflag === '\0' && path.endsWith('/') ? 'directory' : type,
      path,
      linkname: longLink ?? pax.linkpath ?? header.linkname,
      mode: header.mode & 0o7777,
      uid: owner(pax.uid ?? header.uid),
      gid: owner(pax.gid ?? header.gid),
      size: 0,
      mtime: pax.mtime ?? { seconds: header.mtime, nanoseconds: 0 },
      devMajor: header.devMajor,
      devMinor: header.devMinor,
      xattrs: pax.xattrs ?? null,
    };
    const stored = pax.size ?? header.size;
    if (stored < 0) throw badTar('a negative size');

    // Other types have no body, whatever their size field says.
    if (entry.type !== 'file') {
      this.#sink.entry(entry);
      this.#state = 'header';
      return;
    }
    if (header.typeflag === 'S') {
      const { segments, more, realSize } = oldGnuTable(buffer, offset);
      this.#segments = segments;
      this.#awaitSparse(entry, realSize, stored);
      if (more) this.#state = 'sparse-extension';
      else this.#startSparse(segments);
    } else if (pax.sparse && isSparse(pax.sparse)) {
      this.#onPaxSparse(entry, pax.sparse, stored);
    } else {
      entry.size = stored;
      this.#startFile(entry, stored > 0 ? [{ offset: 0, length: stored }] : [], stored);
    }
  }

  #onPaxSparse(entry: TarEntry, sparse: PaxSparse, stored: number): void {
    if (sparse.name !== undefined) entry.path = sparse.name;
    this.#awaitSparse(entry, sparse.realSize ?? stored, stored);
    if (sparse.map) {
      this.#startSparse(pairs(sparse.map));
    } else {
      this.#sparseTable = new PaxSparseTable();
      this.#state = 'sparse-table';
    }
  }

  #awaitSparse(entry: TarEntry, realSize: number, stored: number): void {
    entry.size = realSize;
    this.#sparseEntry = entry;
    this.#remaining = stored;
    this.#padding = padding(stored);
  }

  #startSparse(segments: Segment[]): void {
    const entry = this.#sparseEntry!;
    this.#sparseEntry = null;
    this.#startFile(entry, checkSegments(segments, entry.size, this.#remaining), this.#remaining);
  }

  #startFile(entry: TarEntry, segments: Segment[], stored: number): void {
    if (entry.size < 0) throw badTar('a negative size');
    if (entry.size > MAX_FILE_BYTES) {
      throw new ImageError('too-large', `a file of ${entry.size} bytes; the limit is ${MAX_FILE_BYTES}`);
    }
    this.#segments = segments;
    this.#segment = 0;
    this.#segmentAt = 0;
    this.#sink.entry(entry);
    this.#startBody('data', stored);
  }

  #startBody(state: State, size: number): void {
    this.#remaining = size;
    this.#padding = padding(size);
    this.#state = size === 0 ? 'header' : state;
  }

  #takeBody(bytes: Buffer): void {
    if (this.#state === 'extended') {
      this.#extended.append(bytes);
    } else if (this.#state === 'data') {
      let at = 0;
      while (at < bytes.length) {
        const segment = this.#segments[this.#segment]!;
        const length = Math.min(bytes.length - at, segment.length - this.#segmentAt);
        this.#sink.data(segment.offset + this.#segmentAt, bytes.subarray(at, at + length));
        at += length;
        this.#segmentAt += length;
        if (this.#segmentAt === segment.length) {
          this.#segment++;
          this.#segmentAt = 0;
        }
      }
    }
  }

  /** Skips the padding after a finished body. Returns the number of bytes taken. */
  #takePadding(available: number): number {
    const length = Math.min(this.#padding, available);
    this.#padding -= length;
    if (this.#padding === 0) {
      const extended = this.#state === 'extended';
      this.#state = 'header';
      if (extended) this.#extended.end();
    }
    return length;
  }
}

function isSparse(sparse: PaxSparse): boolean {
  return sparse.map !== undefined || (sparse.major === '1' && sparse.minor === '0');
}

function padding(size: number): number {
  return (BLOCK_SIZE - (size % BLOCK_SIZE)) % BLOCK_SIZE;
}

function owner(id: number): number {
  if (id < 0 || id > 0xffffffff) throw badTar(`an owner of ${id}, which does not fit in 32 bits`);
  return id;
}
