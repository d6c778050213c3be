// What a request costs of the rates of shares: as if the shares were one more disk.
import type { DescriptorChain } from '../../virtio/queue.js';
import type { RateLimit } from '../blk/rate-limit.js';
import * as fuse from './fuse.js';

/** Requests that change files, or wait for the host's disk. The others are reads. */
const WRITES = new Set([
  fuse.FUSE_SETATTR,
  fuse.FUSE_SYMLINK,
  fuse.FUSE_MKNOD,
  fuse.FUSE_MKDIR,
  fuse.FUSE_UNLINK,
  fuse.FUSE_RMDIR,
  fuse.FUSE_RENAME,
  fuse.FUSE_RENAME2,
  fuse.FUSE_LINK,
  fuse.FUSE_WRITE,
  fuse.FUSE_FSYNC,
  fuse.FUSE_SETXATTR,
  fuse.FUSE_REMOVEXATTR,
  fuse.FUSE_FSYNCDIR,
  fuse.FUSE_CREATE,
  fuse.FUSE_FALLOCATE,
  fuse.FUSE_COPY_FILE_RANGE,
  fuse.FUSE_SYNCFS,
  fuse.FUSE_TMPFILE,
]);

/** The most bytes that one request moves: those of a copy. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Offset of the length in `struct fuse_copy_file_range_in`. */
const COPY_LENGTH = 40;

const start = new Uint8Array(fuse.IN_HEADER_SIZE + COPY_LENGTH + 8);
const view = new DataView(start.buffer);

/** Takes the cost of a request and returns 0, or returns the milliseconds that it must wait. */
export function admit(rates: RateLimit, { readable, writable }: DescriptorChain): number {
  start.fill(0);
  readable.read(0, start);
  const opcode = view.getUint32(4, true);
  return rates.admit(WRITES.has(opcode), Math.min(bytesOf(opcode, readable.length, writable.length), MAX_BYTES));
}

function bytesOf(opcode: number, sent: number, room: number): number {
  switch (opcode) {
    case fuse.FUSE_READ:
      return Math.max(room - fuse.OUT_HEADER_SIZE, 0);
    case fuse.FUSE_WRITE:
      return Math.max(sent - fuse.IN_HEADER_SIZE - fuse.WRITE_IN_SIZE, 0);
    case fuse.FUSE_COPY_FILE_RANGE: {
      const at = fuse.IN_HEADER_SIZE + COPY_LENGTH;
      return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    }
    default:
      return 0;
  }
}
