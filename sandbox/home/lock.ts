// Kernel locks on files: open file description locks (fcntl(2)). The kernel releases them however
// their process dies, and unlike those of flock(2) they can be queried without being taken.
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, messageOf } from '../../errors/index.js';
import { errno, libcFunction } from '../../libc/index.js';
import { SandboxError } from '../errors.js';

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const EAGAIN = 11;
const EACCES = 13;
/**
 * Bytes of `struct flock` on x86-64: `i16` type, `i16` whence, `i64` start, `i64` length, `i32`
 * pid.
 */
const FLOCK_LENGTH = 32;

const fcntl = libcFunction<[fd: number, command: number, argument: Buffer]>('int fcntl(int, int, void *)');

/** @param length bytes; 0 means to the end of the file, however long it is or becomes */
function range(type: number, { from = 0, length = 0 } = {}): Buffer {
  const flock = Buffer.alloc(FLOCK_LENGTH);
  flock.writeInt16LE(type, 0);
  flock.writeBigInt64LE(BigInt(from), 8);
  flock.writeBigInt64LE(BigInt(length), 16);
  return flock;
}

/** A lock that is held. Disposing of it releases the lock. */
export class FileLock implements Disposable {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Takes the lock of the file at `path`, which is made if it is missing. Undefined if another
   * process holds it.
   * @param from the first byte that is locked. {@link isLocked} asks for byte 0.
   * @throws SandboxError `state`
   */
  static take(path: string, { from = 0 } = {}): FileLock | undefined {
    const fd = openLock(path, 'a');
    try {
      if (setLock(fd, range(F_WRLCK, { from }))) return new FileLock(fd);
      closeSync(fd);
      return undefined;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * Locks the whole file. Returns false if another process holds a part of it.
   * @throws SandboxError `state`
   */
  widen(): boolean {
    return setLock(this.#fd, range(F_WRLCK));
  }

  /**
   * Waits for the lock of the file at `path`.
   * @param patience milliseconds
   * @throws SandboxError `state` when they are over
   */
  static async wait(path: string, patience: number): Promise<FileLock> {
    const deadline = performance.now() + patience;
    for (;;) {
      const lock = FileLock.take(path);
      if (lock !== undefined) return lock;
      if (performance.now() > deadline) {
        throw new SandboxError('state', `another process has kept ${path} locked for ${patience / 1000} s`);
      }
      await sleep(5);
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

/**
 * Locks one byte of an open file, or changes the lock that its description has. It lasts until the
 * last copy of the descriptor is closed, in whatever process. Returns false if another one has it.
 * @throws SandboxError `state`
 */
export function tryLockByte(fd: number, type: 'read' | 'write', at: number): boolean {
  return setLock(fd, range(type === 'read' ? F_RDLCK : F_WRLCK, { from: at, length: 1 }));
}

/** Gives up what {@link tryLockByte} has locked by the same description. */
export function unlockByte(fd: number, at: number): void {
  if (!setLock(fd, range(F_UNLCK, { from: at, length: 1 }))) {
    throw new SandboxError('state', 'cannot unlock a file of the home');
  }
}

/**
 * Returns true if a process holds the lock of the file at `path`, its first byte included.
 * @throws SandboxError `state`
 */
export function isLocked(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, 'r+');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw new SandboxError('state', `cannot open ${path}: ${messageOf(error)}`, { cause: error });
  }
  try {
    const flock = range(F_WRLCK, { length: 1 });
    if (fcntl(fd, F_OFD_GETLK, flock) !== 0) {
      throw new SandboxError('state', `cannot ask for the lock of ${path}: errno ${errno()}`);
    }
    return flock.readInt16LE(0) !== F_UNLCK;
  } finally {
    closeSync(fd);
  }
}

/** Returns false if another description has a lock in the way. */
function setLock(fd: number, flock: Buffer): boolean {
  if (fcntl(fd, F_OFD_SETLK, flock) === 0) return true;
  const code = errno();
  if (code === EAGAIN || code === EACCES) return false;
  throw new SandboxError('state', `cannot lock a file of the home: errno ${code}`);
}

function openLock(path: string, flags: string): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (cause) {
    throw new SandboxError('state', `cannot open ${path}: ${messageOf(cause)}`, { cause });
  }
}
