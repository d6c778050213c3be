// Copies from file to file on the host, which do not pass through the guest.
import { constants } from 'node:os';
import type { Budget } from './budget.js';
import { killSetId } from './files.js';
import {
  COPY,
  COPY_SIZE,
  type Host,
  PAYLOAD,
  SCRATCH,
  STATX_SIZE,
  SYS_IOCTL,
  SYS_PREADV2,
  SYS_PWRITEV2,
} from './host.js';
import type { Session } from './session.js';

const { EBADF, EFBIG } = constants.errno;

/** Bytes of one copy: a few milliseconds of work. The guest asks again for the rest. */
const MAX_COPY = 16 * 1024 * 1024;
/** `struct file_clone_range`: i64 source, u64 its offset, length, and the destination's offset. */
const FICLONERANGE = 0x4020940d;
/** A file system shares whole blocks. */
const BLOCK = 4096;

/** A range of the file `from`, and where it goes in the file `to`. */
interface Copy {
  from: number;
  fromOffset: number;
  to: number;
  toOffset: number;
  length: number;
}

/** `fuse_copy_file_range_in`: u64 fh_in, off_in, nodeid_out, fh_out, off_out, len, flags. */
export function copyFileRange(session: Session): number {
  const { handles, host } = session;
  const from = handles.file(session.u64(0));
  const to = handles.file(session.u64(24));
  if (from === undefined || to === undefined) return -EBADF;
  const refusal = session.mayChange(to.inode);
  if (refusal < 0) return refusal;
  const copy = {
    from: from.fd,
    fromOffset: session.u64(8),
    to: to.fd,
    toOffset: session.u64(32),
    length: Math.min(session.u64(40), MAX_COPY),
  };
  if (Math.max(copy.fromOffset, copy.toOffset) > Number.MAX_SAFE_INTEGER - MAX_COPY) return -EFBIG;
  const { budget } = to.inode.share;
  const act = () => copyRange(host, copy, budget);
  const copied = budget?.grow(to.inode, to.fd, { offset: copy.toOffset, length: copy.length }, act) ?? act();
  if (copied < 0) return copied;
  if (session.uid !== 0) killSetId(session, to.inode, to.fd);
  const at = PAYLOAD / 4;
  host.words[at] = copied;
  host.words[at + 1] = 0;
  return 8;
}

/** Returns the number of bytes, or the negative errno if there are none. */
function copyRange(host: Host, copy: Copy, budget: Budget | undefined): number {
  let done = clone(host, copy);
  while (done < copy.length) {
    const most = Math.min(copy.length - done, COPY_SIZE);
    const got = host.call(SYS_PREADV2, copy.from, host.iovecOf(COPY, most), 1, copy.fromOffset + done, 0, 0);
    if (got === 0) break;
    if (got > 0) budget?.prepare(copy.to, copy.toOffset + done, got);
    const put =
      got < 0 ? got : host.call(SYS_PWRITEV2, copy.to, host.iovecOf(COPY, got), 1, copy.toOffset + done, 0, 0);
    if (put < 0) return done > 0 ? done : put;
    done += put;
    // A read that ends early is at the end of the file; a write, at that of the disk.
    if (put < most) break;
  }
  return done;
}

/**
 * Makes both files share the whole blocks of the range, where the file system can (btrfs, XFS).
 * Returns their bytes, or 0.
 */
function clone(host: Host, { from, fromOffset, to, toOffset, length }: Copy): number {
  if (host.statx(from) < 0) return 0;
  const size = host.stat(STATX_SIZE) + host.stat(STATX_SIZE + 1) * 2 ** 32;
  const bytes = Math.floor(Math.min(length, size - fromOffset) / BLOCK) * BLOCK;
  if (bytes <= 0) return 0;
  for (const [index, word] of [from, fromOffset, bytes, toOffset].entries()) {
    host.view.setBigUint64(SCRATCH + 8 * index, BigInt(word), true);
  }
  return host.call(SYS_IOCTL, to, FICLONERANGE, host.at(SCRATCH)) === 0 ? bytes : 0;
}
