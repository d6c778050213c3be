// Which parts of a file have blocks: preallocated ones have, and holes have none.
import { constants } from 'node:os';
import { type Host, MAX_REPLY, PAYLOAD, SCRATCH, SYS_FSTATFS, SYS_IOCTL, SYS_LSEEK } from './host.js';

const { EBADF } = constants.errno;

const FS_IOC_FIEMAP = 0xc020660b;
/** `struct fiemap`: u64 start, length, u32 flags, mapped extents, extent count, reserved. */
const FIEMAP_SIZE = 32;
/** `struct fiemap_extent`: u64 logical, physical, length, [2], u32 flags, [3]. */
const EXTENT_SIZE = 56;
const FIEMAP_EXTENT_LAST = 1;
const MAX_EXTENTS = Math.floor((MAX_REPLY - FIEMAP_SIZE) / EXTENT_SIZE);

const XFS_SUPER_MAGIC = 0x58465342;

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** A file in more pieces counts as if it had no more blocks. */
const MAX_CALLS = 64;

/**
 * Bytes of the file between `start` and `end` that have blocks, without the file system's own
 * blocks for the file. Overwrites the reply's payload. Undefined if `fd` is an O_PATH descriptor.
 */
export function allocatedBytes(host: Host, fd: number, start: number, end: number): number | undefined {
  const { view } = host;
  const u64 = (at: number) => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
  let found = 0;
  let from = start;
  for (let calls = 0; calls < MAX_CALLS && from < end; calls++) {
    host.bytes.fill(0, PAYLOAD, PAYLOAD + FIEMAP_SIZE);
    view.setBigUint64(PAYLOAD, BigInt(from), true);
    view.setBigUint64(PAYLOAD + 8, BigInt(end - from), true);
    view.setUint32(PAYLOAD + 24, MAX_EXTENTS, true);
    const error = host.call(SYS_IOCTL, fd, FS_IOC_FIEMAP, host.at(PAYLOAD));
    if (error === -EBADF) return undefined;
    if (error < 0) return calls === 0 ? dataBytes(host, fd, start, end) : found;
    const count = Math.min(view.getUint32(PAYLOAD + 20, true), MAX_EXTENTS);
    if (count === 0) break;
    let isLast = false;
    for (let at = PAYLOAD + FIEMAP_SIZE, left = count; left > 0; left--, at += EXTENT_SIZE) {
      const first = Math.max(u64(at), from);
      const after = Math.min(u64(at) + u64(at + 16), end);
      if (after > first) found += after - first;
      from = Math.max(from, after);
      isLast = (view.getUint32(at + 40, true) & FIEMAP_EXTENT_LAST) !== 0;
    }
    if (isLast) break;
  }
  return found;
}

/**
 * Returns true if the file system of `fd` takes more blocks than a write at the end of a file needs,
 * and gives them back at a time of its own.
 */
export function reservesAhead(host: Host, fd: number): boolean {
  return host.call(SYS_FSTATFS, fd, host.at(SCRATCH)) === 0 && host.view.getUint32(SCRATCH, true) === XFS_SUPER_MAGIC;
}

/** For a file system without extents. Preallocated blocks without data do not count. */
function dataBytes(host: Host, fd: number, start: number, end: number): number {
  let found = 0;
  let from = start;
  for (let calls = 0; calls < MAX_CALLS && from < end; calls++) {
    const data = host.call(SYS_LSEEK, fd, from, SEEK_DATA);
    if (data < 0 || data >= end) break;
    const hole = host.call(SYS_LSEEK, fd, data, SEEK_HOLE);
    if (hole <= data) break;
    found += Math.min(hole, end) - data;
    from = hole;
  }
  return found;
}
