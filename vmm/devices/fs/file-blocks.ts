// What files take on the host's disk, for the bound on a share (budget.ts).
import { constants as fs } from 'node:fs';
import { allocatedBytes, reservesAhead } from './allocation.js';
import {
  type Host,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  STATX_BLOCKS,
  STATX_INO,
  STATX_MODE,
  STATX_NLINK,
  STATX_SIZE,
  SYS_FALLOCATE,
} from './host.js';

/** Bytes that a new name or an extended attribute may take. */
export const BLOCK = 4096;
/** The inode of such a file has room for all its extents (Linux, ext4_extents.h). */
const SIMPLE_BYTES = 4 * BLOCK;
/** Extents for which one block is enough. */
const LEAST_EXTENTS = 200;
const FALLOC_FL_KEEP_SIZE = 1;

/** A range of a file that an operation may allocate. */
export interface Range {
  offset: number;
  length: number;
}

/** Reads the figures of one share's files. Some are those of the last statx. */
export class FileBlocks {
  readonly #host: Host;
  readonly #reservesAhead: boolean;

  /** @param fd the share's root */
  constructor(host: Host, fd: number) {
    this.#host = host;
    this.#reservesAhead = reservesAhead(host, fd);
  }

  /** The most bytes that the range of the file may still take, if there is `room`; 0: it has room. */
  missing(fd: number, { offset, length }: Range, room: number): number {
    const start = Math.floor(offset / BLOCK) * BLOCK;
    const end = Math.ceil((offset + length) / BLOCK) * BLOCK;
    // In most cases there is room for all of it.
    return end - start <= room ? 0 : end - start - (allocatedBytes(this.#host, fd, start, end) ?? 0);
  }

  /**
   * Allocates the blocks of a write beyond the end of the file, if the host's file system would take
   * more than these. Without room on the disk, the write itself fails.
   * @param offset undefined for the end of the file
   */
  prepare(fd: number, offset: number | undefined, length: number): void {
    if (!this.#reservesAhead) return;
    const size = this.sizeOf(fd);
    const start = offset ?? size;
    if (start + length > size) this.#host.call(SYS_FALLOCATE, fd, FALLOC_FL_KEEP_SIZE, start, length);
  }

  bytesOf(fd: number): number {
    return this.#host.statx(fd) < 0 ? 0 : this.statBytes();
  }

  sizeOf(fd: number): number {
    if (this.#host.statx(fd) < 0) return 0;
    return this.#host.stat(STATX_SIZE) + this.#host.stat(STATX_SIZE + 1) * 2 ** 32;
  }

  /**
   * The bytes of a file without the file system's own blocks for it. Those may come when the data
   * is written to the disk, and are not counted then. Were they taken from the count with the file,
   * the count would sink below what there is.
   */
  dataOf(fd: number): number {
    const host = this.#host;
    if (host.statx(fd) < 0) return 0;
    const all = this.statBytes();
    if (this.#isSimple()) return all;
    const size = Number.MAX_SAFE_INTEGER;
    const found = allocatedBytes(host, fd, 0, size);
    if (found !== undefined) return Math.min(all, found);
    const open = host.reopen(fd, fs.O_RDONLY);
    // A file that its owner may not read.
    if (open < 0) return Math.max(all - BLOCK * (1 + Math.ceil(all / BLOCK / LEAST_EXTENTS)), 0);
    const data = allocatedBytes(host, open, 0, size) ?? 0;
    host.close(open);
    return Math.min(all, data);
  }

  /** {@link dataOf} the file of the last statx, which has this name. */
  dataAt(directory: number, address: number): number {
    if (this.#isSimple()) return this.statBytes();
    const fd = this.#host.openPath(directory, address);
    if (fd < 0) return 0;
    const bytes = this.dataOf(fd);
    this.#host.close(fd);
    return bytes;
  }

  /** Of the last statx. */
  statBytes(): number {
    return (this.#host.stat(STATX_BLOCKS) + this.#host.stat(STATX_BLOCKS + 1) * 2 ** 32) * 512;
  }

  /** Of the last statx. */
  isLastName(): boolean {
    return (this.#host.stat(STATX_MODE) & S_IFMT) === S_IFDIR || this.#host.stat(STATX_NLINK) === 1;
  }

  /** Of the last statx. */
  isNameless(): boolean {
    return this.#host.stat(STATX_NLINK) === 0;
  }

  /** Of the last statx: tells two files apart. */
  identity(): string {
    return `${this.#host.stat(STATX_INO)} ${this.#host.stat(STATX_INO + 1)}`;
  }

  /** Returns true if the file of the last statx has no blocks but those with its data. */
  #isSimple(): boolean {
    return (this.#host.stat(STATX_MODE) & S_IFMT) !== S_IFREG || this.statBytes() <= SIMPLE_BYTES;
  }
}
