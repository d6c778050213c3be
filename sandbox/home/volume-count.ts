// The count of what a volume with a bound has, in a file beside its contents. Each machine that has
// the volume holds a lock on the file, and counts what its guest does (vmm/devices/fs/budget.ts).
// The first one's owner measures the volume before: whatever ended the last one, the count is right.
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { measureTree } from '../../libc/trees.js';
import { tryLockByte } from './lock.js';

/** `u64` bytes, `u64` files; and with the machines' lock (vmm/devices/fs/shared-count.ts), which is free. */
const COUNT_SIZE = 16;
const FILE_SIZE = 24;
/** The byte of the file that is locked while a machine has the volume. */
const USE_BYTE = 0;
/** Milliseconds between looks at another owner that measures. */
const PAUSE = 20;

export interface VolumeUse {
  /** Bytes on the host's disk. */
  bytes: number;
  /** Files and folders, the volume's own included. */
  inodes: number;
}

/**
 * Opens the count at `path` of the volume whose files are in `data`. The volume is in use until the
 * last copy of the descriptor is closed.
 * @throws Error of the file system, TreeError
 */
export async function openCount(path: string, data: string): Promise<number> {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  try {
    for (;;) {
      if (tryLockByte(fd, 'write', USE_BYTE)) {
        await measure(fd, data);
        tryLockByte(fd, 'read', USE_BYTE);
        return fd;
      }
      if (tryLockByte(fd, 'read', USE_BYTE)) return fd;
      await sleep(PAUSE);
    }
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** The count at `path` that the last machine left. Undefined if there was none. */
export function readCount(path: string): VolumeUse | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
  try {
    return readOpen(fd);
  } finally {
    closeSync(fd);
  }
}

async function measure(fd: number, data: string): Promise<void> {
  const { unread, ...measured } = await measureTree(data);
  // A guest may close folders of ours to us. What is in them was counted when it was made.
  const before = unread > 0 ? readOpen(fd) : undefined;
  const bytes = Math.max(measured.bytes, before?.bytes ?? 0);
  const inodes = Math.max(measured.inodes, before?.inodes ?? 0);
  const count = Buffer.alloc(FILE_SIZE);
  count.writeBigUInt64LE(BigInt(bytes), 0);
  count.writeBigUInt64LE(BigInt(inodes), 8);
  writeSync(fd, count, 0, FILE_SIZE, 0);
}

function readOpen(fd: number): VolumeUse | undefined {
  const count = Buffer.alloc(COUNT_SIZE);
  if (readSync(fd, count, 0, COUNT_SIZE, 0) !== COUNT_SIZE) return undefined;
  return { bytes: Number(count.readBigUInt64LE(0)), inodes: Number(count.readBigUInt64LE(8)) };
}
