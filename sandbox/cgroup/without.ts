// What bounds a machine on a host that gives it no cgroup: limits of its processes.
import { setPriority } from 'node:os';
import { libcFunction } from '../../libc/index.js';
import { processTree } from './processes.js';

const RLIMIT_DATA = 2;
/** Bytes of private memory of each process. The memory of the guest is shared, and not in it. */
const DATA = 2 * 2 ** 30;
/** More for each CPU of the guest: the stack and the heap of its thread. */
const DATA_OF_CPU = 64 * 2 ** 20;
/** Below other programs, also the supervisor. A machine has a session of its own, which the kernel schedules as one. */
const NICENESS = 5;

const prlimit = libcFunction<[pid: number, resource: number, limit: Buffer, before: null]>(
  'int prlimit(int, int, void *, void *)',
);

/**
 * Bounds a process and those that it started and will start, as far as the host allows it.
 * @param cpus of the guest
 */
export function boundWithoutCgroup(pid: number, cpus: number): void {
  // `struct rlimit`: soft and hard limit.
  const limit = Buffer.alloc(16);
  const bytes = BigInt(DATA + DATA_OF_CPU * cpus);
  limit.writeBigUInt64LE(bytes, 0);
  limit.writeBigUInt64LE(bytes, 8);
  for (const each of processTree(pid)) {
    prlimit(each, RLIMIT_DATA, limit, null);
    lowerPriority(each);
  }
}

/** Gives other programs of the host the CPU first. */
export function lowerPriority(pid: number): void {
  try {
    setPriority(pid, NICENESS);
  } catch {
    // It has ended, or has a lower priority already.
  }
}
