// Open file description locks (fcntl(2)). The kernel releases such a lock once the last copy of its
// descriptor is closed, in whatever process and however that ends. Unlike those of flock(2) they can
// be asked for without being taken.
import { getSystemErrorName } from 'node:util';
import { errno, libcFunction } from './index.js';

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_UNLCK = 2;
const TYPES = { read: 0, write: 1, none: F_UNLCK };
/**
 * Bytes of `struct flock` on x86-64: `i16` type, `i16` whence, `i64` start, `i64` length, `i32`
 * pid.
 */
const FLOCK_LENGTH = 32;

/** Bytes of a file. */
export interface LockRange {
  /** The first. Default 0. */
  from?: number;
  /** 0, the default: to the end of the file, however long it is or becomes. */
  length?: number;
}

const fcntl = libcFunction<[fd: number, command: number, argument: Buffer]>('int fcntl(int, int, void *)');

function describe(type: keyof typeof TYPES, { from = 0, length = 0 }: LockRange): Buffer {
  const flock = Buffer.alloc(FLOCK_LENGTH);
  flock.writeInt16LE(TYPES[type], 0);
  flock.writeBigInt64LE(BigInt(from), 8);
  flock.writeBigInt64LE(BigInt(length), 16);
  return flock;
}

/**
 * Locks a part of an open file, changes the lock that its description has there, or gives it up.
 * @returns 0, or the errno: EAGAIN or EACCES if another description has a lock in the way
 */
export function setFileLock(fd: number, type: keyof typeof TYPES, range: LockRange = {}): number {
  return fcntl(fd, F_OFD_SETLK, describe(type, range)) === 0 ? 0 : errno();
}

/**
 * Returns true if another description of the file has a lock on a part of the range.
 * @throws Error if the file system cannot tell
 */
export function hasFileLock(fd: number, range: LockRange = {}): boolean {
  const flock = describe('write', range);
  if (fcntl(fd, F_OFD_GETLK, flock) !== 0) throw new Error(`fcntl: ${getSystemErrorName(-errno())}`);
  return flock.readInt16LE(0) !== F_UNLCK;
}
