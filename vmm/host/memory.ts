// Guest physical memory: maps guest addresses to addresses of this process, with the one bounds
// check on the way. Addresses and lengths are numbers. A 64-bit value from the guest that loses
// bits as a double is far out of range, and is refused.
import * as libc from './libc.js';

export const PAGE_SIZE = 4096;
const GIB = 2 ** 30;

// linux/memfd.h and linux/fcntl.h.
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;

/**
 * The hole below 4 GiB is for devices and interrupt controllers. Guest RAM above 3 GiB continues at
 * 4 GiB.
 */
export const HOLE_START = 3 * GIB;
export const HOLE_END = 4 * GIB;

/**
 * An ArrayBuffer ends at 4 GiB, so a region is viewed through overlapping windows: one starts every
 * GiB, and each is 2 GiB long. Whatever starts in a window and has at most 1 GiB lies inside it.
 */
const WINDOW_STRIDE = GIB;
const WINDOW_LENGTH = 2 * GIB;

/** An access outside guest memory. */
export class GuestMemoryError extends Error {
  constructor(
    readonly address: number,
    readonly length: number,
  ) {
    super(`guest address 0x${address.toString(16)} + ${length} is outside guest memory`);
    this.name = 'GuestMemoryError';
  }
}

/** A part of guest memory that is contiguous in this process. Bytes. */
export interface MemoryRegion {
  guestAddress: number;
  length: number;
  hostAddress: number;
}

/**
 * A range of guest memory as typed arrays. Subtract `guestAddress` from a guest address to index
 * them.
 */
export interface MemoryWindow {
  readonly guestAddress: number;
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

interface MappedRegion extends MemoryRegion {
  /** By index. Made on first use: a view of a gigabyte costs the garbage collector milliseconds. */
  readonly windows: (MemoryWindow | undefined)[];
}

function mapRegion(region: MemoryRegion): MappedRegion {
  return { ...region, windows: new Array(Math.ceil(region.length / WINDOW_STRIDE)).fill(undefined) };
}

function mapWindow(region: MemoryRegion, index: number): MemoryWindow {
  const start = index * WINDOW_STRIDE;
  const buffer = libc.viewMemory(region.hostAddress + start, Math.min(WINDOW_LENGTH, region.length - start));
  return {
    guestAddress: region.guestAddress + start,
    buffer,
    bytes: new Uint8Array(buffer),
    view: new DataView(buffer),
  };
}

/**
 * Whether writes to a mapping reach its file:
 * - shared: they do.
 * - private: they go to copies of the pages. The file never changes.
 */
export type Sharing = 'shared' | 'private';

/**
 * Guest memory over regions that another owner mapped: another thread of the machine, or a
 * vhost-user front-end.
 */
export class GuestMemory {
  readonly regions: readonly MemoryRegion[];
  readonly #mapped: MappedRegion[];
  readonly #sharing: Sharing;

  constructor(regions: readonly MemoryRegion[], sharing: Sharing = 'shared') {
    this.regions = regions;
    this.#mapped = regions.map(mapRegion);
    this.#sharing = sharing;
  }

  /** The first guest address after all memory. */
  get end(): number {
    return this.regions.reduce((end, region) => Math.max(end, region.guestAddress + region.length), 0);
  }

  #regionOf(address: number, length: number): MappedRegion | undefined {
    for (const region of this.#mapped) {
      const offset = address - region.guestAddress;
      if (offset >= 0 && length >= 0 && offset + length <= region.length) return region;
    }
    return undefined;
  }

  /**
   * Returns the window that holds `length` bytes (at most 1 GiB) at `address`, or undefined if they
   * are not all guest memory. For the hot path: allocates nothing except a window on its first use.
   */
  window(address: number, length: number): MemoryWindow | undefined {
    if (length > WINDOW_LENGTH - WINDOW_STRIDE) return undefined;
    const region = this.#regionOf(address, length);
    if (region === undefined) return undefined;
    const offset = Math.floor((address - region.guestAddress) / WINDOW_STRIDE);
    const index = Math.min(offset, region.windows.length - 1);
    region.windows[index] ??= mapWindow(region, index);
    return region.windows[index];
  }

  /**
   * Returns the address in this process of `length` bytes of guest memory, or 0 if they are not all
   * guest memory.
   */
  hostAddress(address: number, length: number): number {
    const region = this.#regionOf(address, length);
    return region === undefined ? 0 : region.hostAddress + (address - region.guestAddress);
  }

  /**
   * Returns the whole pages within `length` bytes at `address` to the host. Until they are written,
   * they read as zeroes in shared memory, and as in the file in private memory. Does nothing if they
   * are not all guest memory.
   * @throws libc.SystemError if the host refuses
   */
  discard(address: number, length: number): void {
    const start = Math.ceil(address / PAGE_SIZE) * PAGE_SIZE;
    const end = Math.floor((address + length) / PAGE_SIZE) * PAGE_SIZE;
    const host = this.hostAddress(start, end - start);
    if (host === 0 || end <= start) return;
    // MADV_REMOVE punches a hole in the file, and is refused for a private mapping. There
    // MADV_DONTNEED drops the copies of the pages.
    const advice = this.#sharing === 'shared' ? libc.MADV_REMOVE : libc.MADV_DONTNEED;
    libc.check(libc.madvise(host, end - start, advice), 'madvise');
  }

  /**
   * Returns the bytes at `address`, shared with the guest; at most 1 GiB.
   * @throws GuestMemoryError if they are not all guest memory
   */
  bytes(address: number, length: number): Uint8Array {
    const window = this.window(address, length);
    if (window === undefined) throw new GuestMemoryError(address, length);
    const start = address - window.guestAddress;
    return window.bytes.subarray(start, start + length);
  }
}

/**
 * Creates a file for guest memory, a memfd. Its size is final: of the processes that map it, none
 * can take it from the others. Nothing is resident until it is touched.
 * @throws libc.SystemError if the host refuses
 */
export function createMemory(size: number): number {
  const fd = libc.check(libc.memfd_create('tsvm-guest-memory', libc.MFD_CLOEXEC | MFD_ALLOW_SEALING), 'memfd_create');
  try {
    libc.check(libc.ftruncate(fd, size), 'ftruncate');
    libc.check(libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW), 'fcntl');
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Bytes that are copied to a file at once, if not all of them are zero. */
const COPIED = 64 * 1024;
const ZEROES = new Uint8Array(COPIED);

/** Bytes of `struct statfs`, which begins with an `i64`: the type of the file system. */
const STATFS_LENGTH = 120;
/**
 * The most holes of a file that get mappings of their own. The kernel gives a process 65,530 in all.
 */
const MAX_HOLES = 4096;

/** The first offset from `start` on at which a file of `size` bytes may hold other than zeroes. */
function dataFrom(fd: number, start: number, size: number): number {
  const data = libc.lseek(fd, start, libc.SEEK_DATA);
  if (data < 0 && libc.errno() === libc.ENXIO) return size;
  return libc.check(data, 'lseek');
}

/** The first offset from `start` on at which a file may hold nothing but zeroes. */
const holeFrom = (fd: number, start: number): number => libc.check(libc.lseek(fd, start, libc.SEEK_HOLE), 'lseek');

/** True for a file of a memfd or of tmpfs. */
function isInMemory(fd: number): boolean {
  const status = new BigInt64Array(STATFS_LENGTH / 8);
  libc.check(libc.fstatfs(fd, status), 'fstatfs');
  return status[0] === libc.TMPFS_MAGIC;
}

/**
 * Puts memory of no file in the place of the larger holes of a private mapping. A hole of a file in
 * memory gets a page as soon as it is touched through a mapping, also for a read: the file would grow
 * to its full size, and a full tmpfs end the process by SIGBUS.
 */
function unmapHoles(mapping: number, fd: number, size: number): void {
  const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS | libc.MAP_NORESERVE | libc.MAP_FIXED;
  for (let start = holeFrom(fd, 0); start < size; ) {
    const end = dataFrom(fd, start, size);
    if (end - start >= size / MAX_HOLES) {
      libc.check(libc.mmap(mapping + start, end - start, libc.PROT_READ | libc.PROT_WRITE, flags, -1, 0), 'mmap');
    }
    start = end < size ? holeFrom(fd, end) : size;
  }
  // A clone takes the pages that it writes, as it would of a file. A kernel without huge pages
  // refuses.
  libc.madvise(mapping, size, libc.MADV_NOHUGEPAGE);
}

/** Guest memory that this process maps: one file, laid out around the hole below 4 GiB. */
export class AllocatedMemory extends GuestMemory implements Disposable {
  readonly #sharing: Sharing;

  private constructor(
    readonly fd: number,
    readonly size: number,
    readonly mapping: number,
    regions: MemoryRegion[],
    sharing: Sharing,
  ) {
    super(regions, sharing);
    this.#sharing = sharing;
  }

  /**
   * Allocates `size` bytes, a multiple of the page size. Nothing is resident until it is touched.
   * @throws libc.SystemError if the host refuses
   */
  static allocate(size: number): AllocatedMemory {
    return AllocatedMemory.over(createMemory(size), size);
  }

  /**
   * Lays guest memory out over a file of `size` bytes, and takes ownership of its descriptor.
   * @throws libc.SystemError if the host refuses
   */
  static over(fd: number, size: number, sharing: Sharing = 'shared'): AllocatedMemory {
    try {
      const flags = (sharing === 'shared' ? libc.MAP_SHARED : libc.MAP_PRIVATE) | libc.MAP_NORESERVE;
      const mapping = libc.check(libc.mmap(null, size, libc.PROT_READ | libc.PROT_WRITE, flags, fd, 0), 'mmap');
      // Where the host gives shared memory huge pages on advice (shmem_enabled), a guest's boot has
      // some 20 faults of nested paging instead of 7600. A kernel without huge pages refuses.
      if (sharing === 'shared') libc.madvise(mapping, size, libc.MADV_HUGEPAGE);
      if (sharing === 'private' && isInMemory(fd)) unmapHoles(mapping, fd, size);
      const low = Math.min(size, HOLE_START);
      const regions = [{ guestAddress: 0, length: low, hostAddress: mapping }];
      if (size > low) regions.push({ guestAddress: HOLE_END, length: size - low, hostAddress: mapping + low });
      return new AllocatedMemory(fd, size, mapping, regions, sharing);
    } catch (error) {
      libc.close(fd);
      throw error;
    }
  }

  /**
   * Host memory that it occupies, in bytes. Undefined for private memory: its file says nothing about
   * the copies of its pages.
   */
  get resident(): number | undefined {
    return this.#sharing === 'shared' ? libc.fileStatus(this.fd).occupied : undefined;
  }

  /**
   * Writes the memory to a file of its size that is all holes. What is zero stays a hole: pages of
   * shared memory that nothing has touched are not looked at, so that they stay untouched.
   * @throws libc.SystemError, also if the file's disk is full
   */
  copyTo(file: number): void {
    for (let start = this.#dataFrom(0); start < this.size; ) {
      const end = this.#dataTo(start);
      for (let at = start; at < end; at += COPIED) this.#copyPart(file, at, Math.min(end, at + COPIED));
      start = this.#dataFrom(end);
    }
  }

  #copyPart(file: number, start: number, end: number): void {
    const view = new Uint8Array(libc.viewMemory(this.mapping + start, end - start));
    if (Buffer.compare(view, ZEROES.subarray(0, view.length)) === 0) return;
    for (let at = start; at < end; ) {
      const iovec = BigUint64Array.of(BigInt(this.mapping + at), BigInt(end - at));
      at += libc.check(libc.pwritev(file, iovec, 1, at), 'pwritev');
    }
  }

  /** Returns the first offset from `start` on at which there may be other than zeroes. */
  #dataFrom(start: number): number {
    // The file says nothing about the copies of its pages.
    return this.#sharing === 'private' ? start : dataFrom(this.fd, start, this.size);
  }

  /** Returns the first offset from `start` on at which there may be nothing but zeroes. */
  #dataTo(start: number): number {
    return this.#sharing === 'private' ? this.size : holeFrom(this.fd, start);
  }

  /** Unmaps the memory. No view of it may be used afterwards. */
  [Symbol.dispose](): void {
    libc.munmap(this.mapping, this.size);
    libc.close(this.fd);
  }
}
