// Kernel locks on the files of a home (libc/file-lock.ts).
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, messageOf } from '../../errors/index.js';
import { hasFileLock, setFileLock } from '../../libc/file-lock.js';
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import { SandboxError } from '../errors.js';

const EAGAIN = 11;
const EACCES = 13;

/** A lock that is held. Disposing of it releases the lock. */
export class FileLock implements Disposable {
  readonly #file: OwnedDescriptor;

  private constructor(fd: number) {
    this.#file = new OwnedDescriptor(fd);
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
      if (setLock(fd, 'write', { from })) return new FileLock(fd);
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
    return setLock(this.#file.fd, 'write');
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
    this.#file[Symbol.dispose]();
  }
}

/**
 * Locks one byte of an open file, or changes the lock that its description has. It lasts until the
 * last copy of the descriptor is closed, in whatever process. Returns false if another one has it.
 * @throws SandboxError `state`
 */
export function tryLockByte(fd: number, type: 'read' | 'write', at: number): boolean {
  return setLock(fd, type, { from: at, length: 1 });
}

/** Gives up what {@link tryLockByte} has locked by the same description. */
export function unlockByte(fd: number, at: number): void {
  if (!setLock(fd, 'none', { from: at, length: 1 })) {
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
    return hasFileLock(fd, { length: 1 });
  } catch (cause) {
    throw new SandboxError('state', `cannot ask for the lock of ${path}: ${messageOf(cause)}`, { cause });
  } finally {
    closeSync(fd);
  }
}

/** Returns false if another description has a lock in the way. */
function setLock(...lock: Parameters<typeof setFileLock>): boolean {
  const code = setFileLock(...lock);
  if (code === 0) return true;
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
