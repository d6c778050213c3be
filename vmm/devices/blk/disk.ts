// A disk made of extents of host files, laid end to end. Each file is opened once, however many
// extents it has.
import { fstatSync } from 'node:fs';
import { type HostFiles, OWN_FILES } from '../../host/files.js';
import * as libc from '../../host/libc.js';
import { type DiskExtent, type DiskSpec, MachineError } from '../../machine.js';
import { allocateIovecs, type BufferList, IOVEC_WORDS, setIovec } from '../../virtio/buffers.js';

export const SECTOR_SIZE = 512;
/** Bytes of zeroes that one write takes. */
const ZEROES = 64 * 1024;

function openFile(files: HostFiles, path: string, readOnly: boolean): number {
  const fd = files.open(path, readOnly ? libc.O_RDONLY : libc.O_RDWR);
  if (fd >= 0) {
    // The lock shows other processes that the file is in use. They ask for it without taking one,
    // which could be in its way. A file system without locks is accepted.
    if (readOnly) libc.lockForReading(fd);
    return fd;
  }
  const cause = new libc.SystemError('open', -fd);
  throw new MachineError('host', `cannot open disk file ${path}: ${cause.code}`, { cause });
}

function checkExtent(extent: DiskExtent): void {
  const { path, offset, length } = extent;
  const aligned = Number.isSafeInteger(offset) && offset >= 0 && offset % SECTOR_SIZE === 0;
  const whole = Number.isSafeInteger(length) && length > 0 && length % SECTOR_SIZE === 0;
  if (aligned && whole && Number.isSafeInteger(offset + length)) return;
  throw new MachineError('bad-spec', `disk extent ${offset} + ${length} of ${path} does not consist of whole sectors`);
}

/**
 * The open files of a disk. Offsets and lengths are in bytes of the disk, and the caller keeps them
 * inside it.
 */
export class Disk implements Disposable {
  readonly readOnly: boolean;
  /** Bytes. */
  readonly length: number;
  readonly #isVolatile: boolean;
  readonly #files: number[];
  /**
   * By extent: its file, its start in the file, its start on the disk. The last start is the disk's
   * end.
   */
  readonly #fd: Int32Array;
  readonly #fileOffset: Float64Array;
  readonly #start: Float64Array;
  #iovecs = allocateIovecs(64);

  private constructor(spec: DiskSpec, files: ReadonlyMap<string, number>) {
    const count = spec.extents.length;
    this.readOnly = spec.readOnly;
    this.#isVolatile = spec.volatile === true;
    this.#files = [...files.values()];
    this.#fd = new Int32Array(count);
    this.#fileOffset = new Float64Array(count);
    this.#start = new Float64Array(count + 1);
    let start = 0;
    for (const [index, { path, offset, length }] of spec.extents.entries()) {
      this.#fd[index] = files.get(path)!;
      this.#fileOffset[index] = offset;
      start += length;
      this.#start[index + 1] = start;
    }
    this.length = start;
  }

  /**
   * Opens the files of `spec`. A disk without extents has no capacity.
   * @throws MachineError `bad-spec` for an extent that is not whole sectors; `host` for a file that
   * cannot be opened or is shorter than its extents
   */
  static open(spec: DiskSpec, from: HostFiles = OWN_FILES): Disk {
    const files = new Map<string, number>();
    try {
      for (const extent of spec.extents) {
        checkExtent(extent);
        const fd = files.get(extent.path) ?? openFile(from, extent.path, spec.readOnly);
        files.set(extent.path, fd);
        const status = fstatSync(fd);
        if (status.isFile() && status.size < extent.offset + extent.length) {
          const needed = extent.offset + extent.length;
          const message = `disk file ${extent.path} has ${status.size} bytes, but its extent needs ${needed}`;
          throw new MachineError('host', message);
        }
      }
      return new Disk(spec, files);
    } catch (error) {
      for (const fd of files.values()) libc.close(fd);
      throw error;
    }
  }

  /**
   * The extent that holds the disk's byte `offset`: an index that is below the number of extents.
   */
  #extentAt(offset: number): number {
    let low = 0;
    let high = this.#fd.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#start[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Reads `length` bytes at `offset` to byte `at` of `target`. Returns false if the host fails. */
  read(offset: number, length: number, target: BufferList, at: number): boolean {
    return this.#transfer(libc.preadv, offset, length, target, at);
  }

  /**
   * Writes `length` bytes from byte `at` of `source` to `offset`. Returns false if the host fails.
   */
  write(offset: number, length: number, source: BufferList, at: number): boolean {
    return this.#transfer(libc.pwritev, offset, length, source, at);
  }

  /** Transfers between file and guest memory without a copy. Continues after a short transfer. */
  #transfer(call: typeof libc.preadv, offset: number, length: number, buffers: BufferList, at: number): boolean {
    if (this.#iovecs.length < buffers.capacity * IOVEC_WORDS) this.#iovecs = allocateIovecs(buffers.capacity);
    let done = 0;
    while (done < length) {
      const extent = this.#extentAt(offset + done);
      const within = offset + done - this.#start[extent]!;
      const chunk = Math.min(length - done, this.#start[extent + 1]! - offset - done);
      const count = buffers.iovecs(at + done, chunk, this.#iovecs);
      const moved = call(this.#fd[extent]!, this.#iovecs, count, this.#fileOffset[extent]! + within);
      if (moved > 0) done += moved;
      // 0: the end of a file that another process truncated.
      else if (moved === 0 || libc.errno() !== libc.EINTR) return false;
    }
    return true;
  }

  /** Makes writes durable, unless the disk ends with the machine. */
  flush(): boolean {
    return this.#isVolatile || this.#files.every((fd) => libc.fdatasync(fd) === 0);
  }

  /**
   * Returns the space of a range to the host, if its file system can. The range then reads as
   * zeroes or as before.
   */
  discard(offset: number, length: number): boolean {
    return this.#eachExtent(offset, length, (fd, at, size) => {
      const mode = libc.FALLOC_FL_PUNCH_HOLE | libc.FALLOC_FL_KEEP_SIZE;
      return libc.fallocate(fd, mode, at, size) === 0 || libc.errno() === libc.EOPNOTSUPP;
    });
  }

  /** Makes a range read as zeroes. With `unmap`, its space may be returned to the host. */
  writeZeroes(offset: number, length: number, unmap: boolean): boolean {
    const mode = (unmap ? libc.FALLOC_FL_PUNCH_HOLE : libc.FALLOC_FL_ZERO_RANGE) | libc.FALLOC_FL_KEEP_SIZE;
    return this.#eachExtent(offset, length, (fd, at, size) => {
      if (libc.fallocate(fd, mode, at, size) === 0) return true;
      return libc.errno() === libc.EOPNOTSUPP && writeZeroBytes(fd, at, size);
    });
  }

  #eachExtent(offset: number, length: number, apply: (fd: number, at: number, size: number) => boolean): boolean {
    let done = 0;
    while (done < length) {
      const extent = this.#extentAt(offset + done);
      const within = offset + done - this.#start[extent]!;
      const size = Math.min(length - done, this.#start[extent + 1]! - offset - done);
      if (!apply(this.#fd[extent]!, this.#fileOffset[extent]! + within, size)) return false;
      done += size;
    }
    return true;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#files) libc.close(fd);
  }
}

/** Address of {@link ZEROES} bytes. They are mapped when first needed. */
let zeroes = -1;
const zeroIovec = allocateIovecs(1);

function writeZeroBytes(fd: number, offset: number, length: number): boolean {
  if (zeroes < 0) zeroes = libc.mmap(null, ZEROES, libc.PROT_READ, libc.MAP_PRIVATE | libc.MAP_ANONYMOUS, -1, 0);
  if (zeroes < 0) return false;
  for (let done = 0; done < length; ) {
    setIovec(zeroIovec, zeroes, Math.min(ZEROES, length - done));
    const written = libc.pwritev(fd, zeroIovec, 1, offset + done);
    if (written > 0) done += written;
    // No space, or the file is gone. The guest gets an I/O error.
    else if (libc.errno() !== libc.EINTR) return false;
  }
  return true;
}
