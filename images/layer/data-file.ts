// A layer's file contents, end to end. Each file starts at a 4096-byte page, so a disk can refer to
// it and a guest's page cache can map it. The file is written in large pieces while the tar
// streams. Long runs of zeros become holes.

import type { FileHandle } from 'node:fs/promises';
import { ImageError } from '../errors.js';
import { MAX_LAYER_DATA_BYTES } from '../limits.js';

export const PAGE_SIZE = 4096;
const BUFFER_SIZE = 4 << 20;
/**
 * Shorter runs of zero pages are written: a hole would cost more by splitting a write than it
 * saves.
 */
const MIN_HOLE_PAGES = 16;
/** More buffers than this on their way to the disk make `ready` wait. */
const MAX_WRITES = 2;
const ZERO_PAGE = Buffer.alloc(PAGE_SIZE);

/** Writes one layer's contents, in order of offset. The caller closes the file. */
export class DataFileWriter {
  readonly #file: FileHandle;
  #buffer: Buffer = Buffer.alloc(BUFFER_SIZE);
  /** Where the buffer belongs in the file, a multiple of 4096, and the number of bytes in it. */
  #base = 0;
  #fill = 0;
  #spare: Buffer[] = [];
  #writes = new Set<Promise<void>>();
  #failure: unknown = null;
  #start = 0;
  #length = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Bytes so far, a multiple of 4096. */
  get length(): number {
    return this.#length;
  }

  /**
   * Makes room for the next file.
   *
   * @param size bytes, holes included
   * @returns the page where its contents begin
   * @throws ImageError `too-large`
   */
  begin(size: number): number {
    this.#start = this.#length;
    this.#length += Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    if (this.#length > MAX_LAYER_DATA_BYTES) {
      throw new ImageError('too-large', `the layer's files exceed ${MAX_LAYER_DATA_BYTES} bytes`);
    }
    return this.#start / PAGE_SIZE;
  }

  /** Copies bytes to `offset` of the current file. Offsets only grow. */
  write(offset: number, bytes: Buffer): void {
    let position = this.#start + offset;
    let at = 0;
    while (at < bytes.length) {
      if (position >= this.#base + BUFFER_SIZE) this.#flush(position - (position % PAGE_SIZE));
      const into = position - this.#base;
      const copied = bytes.copy(this.#buffer, into, at);
      at += copied;
      position += copied;
      this.#fill = into + copied;
    }
  }

  /**
   * Resolves when more may be written. Keeps a fast source from filling the memory when the disk is
   * slow.
   *
   * @throws the error of an earlier write
   */
  async ready(): Promise<void> {
    while (this.#writes.size > MAX_WRITES) await Promise.race(this.#writes);
    if (this.#failure) throw this.#failure;
  }

  /** Writes everything to the disk and gives the file its full length. */
  async finish(): Promise<void> {
    this.#flush(this.#length);
    await Promise.all(this.#writes);
    if (this.#failure) throw this.#failure;
    await this.#file.truncate(this.#length);
    await this.#file.sync();
  }

  #flush(nextBase: number): void {
    const buffer = this.#buffer;
    if (this.#fill > 0) {
      const write = this.#writeRuns(buffer, Math.ceil(this.#fill / PAGE_SIZE), this.#base)
        .catch((error: unknown) => {
          this.#failure ??= error;
        })
        .finally(() => {
          this.#writes.delete(write);
          this.#spare.push(buffer);
        });
      this.#writes.add(write);
      this.#buffer = this.#spare.pop()?.fill(0) ?? Buffer.alloc(BUFFER_SIZE);
    }
    this.#base = nextBase;
    this.#fill = 0;
  }

  async #writeRuns(buffer: Buffer, pages: number, base: number): Promise<void> {
    let page = 0;
    while (page < pages) {
      const hole = zeroPages(buffer, page, pages);
      if (hole >= MIN_HOLE_PAGES || page + hole === pages) page += hole;
      let end = page;
      while (end < pages) {
        const zeros = zeroPages(buffer, end, pages);
        if (zeros >= MIN_HOLE_PAGES || (zeros > 0 && end + zeros === pages)) break;
        end += zeros + 1;
      }
      await writeAll(this.#file, buffer.subarray(page * PAGE_SIZE, end * PAGE_SIZE), base + page * PAGE_SIZE);
      page = end;
    }
  }
}

function zeroPages(buffer: Buffer, from: number, to: number): number {
  let page = from;
  while (page < to && buffer.compare(ZERO_PAGE, 0, PAGE_SIZE, page * PAGE_SIZE, (page + 1) * PAGE_SIZE) === 0) page++;
  return page - from;
}

/** Writes all of `bytes` at `position`. */
export async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let at = 0;
  while (at < bytes.length) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}
