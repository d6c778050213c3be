// Locks between processes: flock(2). The kernel releases such a lock when its holder dies, however
// it dies. Node.js has no binding for it.

import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../errors/index.js';
import { errno, libcFunction } from '../../libc/index.js';
import { ImageError } from '../errors.js';
import { LOCK } from './layout.js';

const LOCK_EX = 2;
const LOCK_NB = 4;
const EWOULDBLOCK = 11;
const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;
/**
 * The lock is normally held for milliseconds. A process that holds it longer than this is stuck.
 */
const PATIENCE_MS = 60_000;

const flock = libcFunction<[fd: number, operation: number]>('int flock(int fd, int operation)');
const renameat2 = libcFunction<[fromFd: number, from: string, toFd: number, to: string, flags: number]>(
  'int renameat2(int, const char *, int, const char *, uint)',
);

/**
 * Locks an open file or directory. Returns false if it is locked already. The lock lasts until the
 * descriptor is closed.
 */
export function tryLock(fd: number): boolean {
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const code = errno();
  if (code === EWOULDBLOCK) return false;
  throw new ImageError('io', `cannot lock the image store: flock failed with errno ${code}`);
}

/** Swaps two files or folders of one file system atomically. */
export function exchange(one: string, other: string): void {
  if (renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) === 0) return;
  throw new ImageError('io', `cannot swap ${one} and ${other}: renameat2 failed with errno ${errno()}`);
}

/**
 * Runs `change` while no other process changes what is in the store.
 *
 * @param signal once aborted, the wait for the lock fails with its reason
 * @throws ImageError `no-permission` if the store cannot be written; `io`
 */
export async function withStoreLock<T>(home: string, change: () => Promise<T> | T, signal?: AbortSignal): Promise<T> {
  const fd = openLock(home);
  try {
    const deadline = Date.now() + PATIENCE_MS;
    while (!tryLock(fd)) {
      signal?.throwIfAborted();
      if (Date.now() > deadline) {
        throw new ImageError('io', `another process has kept the image store ${home} locked for a minute`);
      }
      await sleep(5);
    }
    return await change();
  } finally {
    closeSync(fd);
  }
}

function openLock(home: string): number {
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    return openSync(join(home, LOCK), 'a', 0o600);
  } catch (cause) {
    if (hasCode(cause, 'EROFS'))
      throw new ImageError('no-permission', `the image store ${home} is read-only`, { cause });
    if (hasCode(cause, 'EACCES', 'EPERM')) {
      throw new ImageError('no-permission', `you may not write to the image store ${home}`, { cause });
    }
    throw cause;
  }
}
