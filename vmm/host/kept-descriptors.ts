// Files that are no share's, in a process that serves shares. Calls of the file server change the
// attributes of what a descriptor stands for, and open it again to be written: a guest that has taken
// the process over would do so with /dev/kvm, or with a disk that is open to be read. So such files
// have high numbers, and the filter lets the file server's calls name lower ones alone
// (accel/system-calls.ts).
import { closeSync } from 'node:fs';
import * as libc from './libc.js';

const RLIMIT_NOFILE = 7;
/** The most numbers that are used: the kernel's table of descriptors has a place for each. */
const MAX_NUMBERS = 2 ** 16;
/** Places for kept files: at most so many, and this part of all. */
const MAX_KEPT = 1024;
const KEPT_PART = 1 / 4;

let from: number | undefined;

/** The first number of a kept file. Others have lower ones. */
export function firstKept(): number {
  if (from !== undefined) return from;
  const limit = new BigUint64Array(2);
  libc.check(libc.getrlimit(RLIMIT_NOFILE, limit), 'getrlimit');
  const numbers = Math.min(Number(limit[0]), MAX_NUMBERS);
  from = numbers - Math.min(MAX_KEPT, Math.floor(numbers * KEPT_PART));
  return from;
}

/** Moves a file to where it is kept. Returns its new number. @throws libc.SystemError */
export function keep(fd: number): number {
  const kept = libc.check(libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, firstKept()), 'fcntl');
  libc.close(fd);
  return kept;
}

/** No file gets a high number from now on. @param harmless takes the place of /dev/null */
export function keepNoMore(harmless: number): void {
  for (const stream of [0, 1]) {
    closeSync(stream);
    // The lowest number that is free.
    libc.check(libc.fcntl(harmless, libc.F_DUPFD_CLOEXEC, stream), 'fcntl');
  }
  const limit = new BigUint64Array(2);
  libc.check(libc.getrlimit(RLIMIT_NOFILE, limit), 'getrlimit');
  limit[0] = BigInt(firstKept());
  libc.check(libc.setrlimit(RLIMIT_NOFILE, limit), 'setrlimit');
}
