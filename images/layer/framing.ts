// The framing of a layer: everything in its tar besides file contents, byte for byte (headers,
// padding, end mark). The framing and the data file together give the original tar back, whose
// digest is the layer's diff-id. So the store need not keep the blob.
//
// The file has a 16-byte header: the magic and the tar's length (u64, little-endian). A raw deflate
// stream of pieces follows, in the tar's order. A piece begins with a number: twice its length,
// plus 1 if it is contents. Then come:
// - for framing, the bytes themselves
// - for contents, how many entries further on in the index their file is, and their offset in the
//   file
//
// Numbers are LEB128.

import { once } from 'node:events';
import { fstatSync, readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createDeflateRaw, createInflateRaw } from 'node:zlib';
import { codeOf } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { writeAll } from './data-file.js';

/** The last byte is the format's version. */
const MAGIC = Buffer.from('tsvmtar\x01', 'latin1');
const HEADER_SIZE = 16;
/** Most bytes of framing in one piece. */
const MAX_LITERAL = 32 * 1024;
/** Most bytes of the numbers in front of a piece. */
const MAX_NUMBERS = 30;
const PIECES_SIZE = 4 * MAX_LITERAL;
/** zlib's level. Higher levels take 5 times as long to save a fifth. */
const LEVEL = 3;
const INPUT_SIZE = 64 * 1024;
const OUTPUT_SIZE = 1 << 20;

/** Writes a layer's framing while its tar streams. The caller closes the file. */
export class FramingWriter {
  readonly #file: FileHandle;
  readonly #deflate = createDeflateRaw({ level: LEVEL });
  readonly #written: Promise<void>;
  #pieces = Buffer.allocUnsafe(PIECES_SIZE);
  #fill = 0;
  #chunk: Buffer = Buffer.alloc(0);
  /** Bytes of the chunk that have been handled. */
  #at = 0;
  #tarLength = 0;
  /** The latest contents. They are not written yet, because more of the same may follow. */
  #pending = { entry: 0, offset: 0, length: 0 };
  #lastEntry = 0;
  #failure: unknown = null;

  /** @param file an empty file */
  constructor(file: FileHandle) {
    this.#file = file;
    this.#written = pipeline(this.#deflate, async (compressed: AsyncIterable<Buffer>) => {
      let position = HEADER_SIZE;
      for await (const bytes of compressed) {
        await writeAll(file, bytes, position);
        position += bytes.length;
      }
    });
    this.#written.catch((error: unknown) => {
      this.#failure = error;
    });
  }

  /** Takes the tar's next bytes. They must not change until `endChunk`. */
  beginChunk(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#at = 0;
    this.#tarLength += chunk.length;
  }

  /**
   * Marks a part of the chunk as contents.
   *
   * @param entry number of the file's entry in the index
   * @param offset bytes into the file
   * @param bytes a view of the chunk
   */
  contents(entry: number, offset: number, bytes: Buffer): void {
    const start = bytes.byteOffset - this.#chunk.byteOffset;
    this.#literal(start);
    const pending = this.#pending;
    if (pending.length > 0 && pending.entry === entry && pending.offset + pending.length === offset) {
      pending.length += bytes.length;
    } else {
      this.#putPending();
      this.#pending = { entry, offset, length: bytes.length };
    }
    this.#at = start + bytes.length;
  }

  endChunk(): void {
    this.#literal(this.#chunk.length);
  }

  /**
   * Resolves when the next chunk may be passed.
   *
   * @throws the error of an earlier write
   */
  async ready(): Promise<void> {
    if (this.#failure) throw this.#failure;
    if (this.#deflate.writableNeedDrain) await Promise.race([once(this.#deflate, 'drain'), this.#written]);
  }

  /** Writes everything to the disk. */
  async finish(): Promise<void> {
    this.#putPending();
    this.#deflate.end(this.#pieces.subarray(0, this.#fill));
    await this.#written;
    const header = Buffer.alloc(HEADER_SIZE);
    MAGIC.copy(header);
    header.writeBigUInt64LE(BigInt(this.#tarLength), MAGIC.length);
    await writeAll(this.#file, header, 0);
    await this.#file.sync();
  }

  /** Stops the compressor. Does nothing after `finish`. */
  abandon(): void {
    this.#deflate.destroy();
  }

  /** Adds the chunk's bytes up to `end` as framing. */
  #literal(end: number): void {
    if (this.#at < end) this.#putPending();
    while (this.#at < end) {
      const length = Math.min(end - this.#at, MAX_LITERAL);
      this.#reserve(length);
      this.#number(length * 2);
      this.#fill += this.#chunk.copy(this.#pieces, this.#fill, this.#at, this.#at + length);
      this.#at += length;
    }
  }

  #putPending(): void {
    const { entry, offset, length } = this.#pending;
    if (length === 0) return;
    this.#reserve(0);
    this.#number(length * 2 + 1);
    this.#number(entry - this.#lastEntry);
    this.#number(offset);
    this.#lastEntry = entry;
    this.#pending.length = 0;
  }

  #reserve(bytes: number): void {
    if (this.#fill + MAX_NUMBERS + bytes <= PIECES_SIZE) return;
    this.#deflate.write(this.#pieces.subarray(0, this.#fill));
    this.#pieces = Buffer.allocUnsafe(PIECES_SIZE);
    this.#fill = 0;
  }

  #number(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.#pieces[this.#fill++] = (rest % 0x80) + 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#pieces[this.#fill++] = rest;
  }
}

/**
 * Bytes of the tar that a framing belongs to.
 *
 * @param framing the open file
 * @throws ImageError `corrupt`
 */
export function framedLength(framing: number): number {
  const header = Buffer.alloc(HEADER_SIZE);
  if (readSync(framing, header, 0, HEADER_SIZE, 0) !== HEADER_SIZE || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw damaged();
  }
  const length = header.readBigUInt64LE(MAGIC.length);
  if (length > Number.MAX_SAFE_INTEGER) throw damaged();
  return Number(length);
}

/**
 * Puts a layer's tar together again. The caller has to check its digest.
 *
 * @param framing the open framing file
 * @param data the open data file
 * @param positions bytes: where each index entry's contents begin in the data file
 * @throws ImageError `corrupt`
 */
export async function* readTar(framing: number, data: number, positions: Float64Array): AsyncGenerator<Buffer> {
  const dataLength = fstatSync(data).size;
  let output = Buffer.allocUnsafe(OUTPUT_SIZE);
  let fill = 0;
  let entry = 0;
  let total = 0;
  for await (const piece of pieces(framing)) {
    let at = 0;
    total += piece.length;
    let position = 0;
    if (piece.literal === null) {
      entry += piece.entry;
      const start = positions[entry];
      if (start === undefined) throw damaged();
      position = start + piece.offset;
      if (position + piece.length > dataLength) throw damaged();
    }
    while (at < piece.length) {
      const length = Math.min(piece.length - at, OUTPUT_SIZE - fill);
      if (piece.literal !== null) piece.literal.copy(output, fill, at, at + length);
      else if (readSync(data, output, fill, length, position + at) !== length) throw damaged();
      at += length;
      fill += length;
      if (fill === OUTPUT_SIZE) {
        yield output;
        output = Buffer.allocUnsafe(OUTPUT_SIZE);
        fill = 0;
      }
    }
  }
  if (total !== framedLength(framing)) throw damaged();
  if (fill > 0) yield output.subarray(0, fill);
}

interface Piece {
  length: number;
  /** The bytes, or null for contents. */
  literal: Buffer | null;
  entry: number;
  offset: number;
}

async function* pieces(framing: number): AsyncGenerator<Piece> {
  const inflate = createInflateRaw();
  const fed = pipeline(compressed(framing), inflate);
  fed.catch(() => {});
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of inflate) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const cursor = { at: 0 };
      for (let piece = parsePiece(rest, cursor); piece; piece = parsePiece(rest, cursor)) yield piece;
      rest = rest.subarray(cursor.at);
    }
    await fed;
  } catch (cause) {
    if (codeOf(cause)?.startsWith('Z_')) throw damaged(cause);
    throw cause;
  } finally {
    inflate.destroy();
  }
  if (rest.length > 0) throw damaged();
}

function* compressed(framing: number): Generator<Buffer> {
  for (let position = HEADER_SIZE; ; ) {
    const bytes = Buffer.allocUnsafe(INPUT_SIZE);
    const length = readSync(framing, bytes, 0, INPUT_SIZE, position);
    if (length === 0) return;
    yield bytes.subarray(0, length);
    position += length;
  }
}

/**
 * Reads the piece at the cursor and moves the cursor past it. Returns null if the piece is
 * incomplete.
 */
function parsePiece(bytes: Buffer, cursor: { at: number }): Piece | null {
  const next = { at: cursor.at };
  const head = parseNumber(bytes, next);
  if (head === null) return null;
  const length = Math.floor(head / 2);
  if (head % 2 === 0) {
    if (length > MAX_LITERAL) throw damaged();
    if (next.at + length > bytes.length) return null;
    cursor.at = next.at + length;
    return { length, literal: bytes.subarray(next.at, cursor.at), entry: 0, offset: 0 };
  }
  const entry = parseNumber(bytes, next);
  const offset = parseNumber(bytes, next);
  if (entry === null || offset === null) return null;
  cursor.at = next.at;
  return { length, literal: null, entry, offset };
}

function parseNumber(bytes: Buffer, cursor: { at: number }): number | null {
  let value = 0;
  let scale = 1;
  for (let at = cursor.at; at < bytes.length; at++) {
    const byte = bytes[at]!;
    value += (byte & 0x7f) * scale;
    if (value > Number.MAX_SAFE_INTEGER) throw damaged();
    if (byte < 0x80) {
      cursor.at = at + 1;
      return value;
    }
    scale *= 0x80;
  }
  return null;
}

function damaged(cause?: unknown): ImageError {
  return new ImageError('corrupt', 'a layer in the store is damaged: remove its image and load it again', {
    cause,
  });
}
