// Pins the programs that this one starts to CPUs (sched_setaffinity(2)): a child has the CPUs of the
// thread that starts it, so no program such as taskset(1) is part of what is measured.
import { readFileSync } from 'node:fs';
import { errno, libcFunction } from '../libc/index.js';
import { CompareError } from './errors.js';
import type { CommandLine, PreparedLevel } from './level.js';

/** Bytes of a `cpu_set_t`: 1024 CPUs. */
const SET = 128;

const sched_setaffinity = libcFunction<[pid: number, size: number, set: Buffer]>(
  'int sched_setaffinity(int pid, size_t size, void *set)',
);
const sched_getaffinity = libcFunction<[pid: number, size: number, set: Buffer]>(
  'int sched_getaffinity(int pid, size_t size, void *set)',
);

/** Starts something while this thread is pinned. The CPUs of this thread stay as they were. */
export function startPinned<T>(cpus: readonly number[] | undefined, start: () => T): T {
  if (cpus === undefined) return start();
  const before = Buffer.alloc(SET);
  const wanted = Buffer.alloc(SET);
  for (const cpu of cpus) wanted.writeUInt8(wanted.readUInt8(cpu >> 3) | (1 << (cpu & 7)), cpu >> 3);
  if (sched_getaffinity(0, SET, before) < 0 || sched_setaffinity(0, SET, wanted) < 0) {
    throw new CompareError('pinning', `this host has no CPU ${cpus.join(',')} for this program (errno ${errno()})`);
  }
  try {
    return start();
  } finally {
    sched_setaffinity(0, SET, before);
  }
}

/** Numbers of the CPUs in a list as the kernel writes it: `0-3,8`. */
export function parseCpuList(text: string): number[] {
  return text.split(',').flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** True if each thread of a process runs on no other CPUs. A process that has ended is pinned. */
export function isPinned(pid: number, cpus: readonly number[]): boolean {
  try {
    const [, list = ''] = /^Cpus_allowed_list:\s+(\S+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
    return parseCpuList(list).every((cpu) => cpus.includes(cpu));
  } catch {
    return true;
  }
}

/**
 * The same level, whose programs start pinned.
 * @param patience milliseconds that a sandbox has to start
 */
export function pinLevel(level: PreparedLevel, cpus: readonly number[] | undefined, patience: number): PreparedLevel {
  const { connect } = level;
  const pin = (line: CommandLine): CommandLine => ({ ...line, ...(cpus && { cpus }) });
  return {
    ...level,
    start: (...given) => ({ ...pin(level.start(...given)), patience }),
    exec: (...given) => pin(level.exec(...given)),
    ...(connect && { connect: (...given: Parameters<typeof connect>) => ({ ...pin(connect(...given)), patience }) }),
  };
}
