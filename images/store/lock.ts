// Locks between processes: flock(2), which the kernel takes back when its holder dies, however it dies. Node has no
// binding for it.

import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import koffi from 'koffi';
import { ImageError } from '../errors.js';
import { LOCK } from './layout.js';

const LOCK_EX = 2;
const LOCK_NB = 4;
const EWOULDBLOCK = 11;
/** The lock is held for milliseconds; whoever holds it longer is stuck. */
const PATIENCE_MS = 60_000;

const flock = koffi.load('libc.so.6').func('int flock(int fd, int operation)');

/** Locks an open file or directory if nobody else has it locked. The lock lasts until the descriptor is closed. */
export function tryLock(fd: number): boolean {
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const errno = koffi.errno();
  if (errno === EWOULDBLOCK) return false;
  throw new ImageError('io', `cannot lock the image store: flock fails with errno ${errno}`);
}

/** Runs `change` while no other process changes what is in the store. */
export async function withStoreLock<T>(home: string, change: () => Promise<T> | T): Promise<T> {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const fd = openSync(join(home, LOCK), 'a', 0o600);
  try {
    const deadline = Date.now() + PATIENCE_MS;
    while (!tryLock(fd)) {
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
