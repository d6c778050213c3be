// What bounds a machine on a host that gives it no cgroup: limits of its processes.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import { messageOf } from '../../errors/index.js';
import { libcFunction } from '../../libc/index.js';
import { runs } from './processes.js';

const RLIMIT_DATA = 2;
/** Bytes of private memory of each process. The memory of the guest is shared, and not in it. */
const DATA = 2 * 2 ** 30;
/** More for each CPU of the guest: the stack and the heap of its thread. */
const DATA_OF_CPU = 64 * 2 ** 20;
/** Below other programs, also the supervisor. */
const NICENESS = 5;

/** Milliseconds for a program that sets limits. */
const PATIENCE = 30_000;

const getsid = libcFunction<[pid: number]>('int getsid(int)');
const prlimit = libcFunction<[pid: number, resource: number, limit: Buffer, before: null]>(
  'int prlimit(int, int, void *, void *)',
);

/**
 * Bounds processes and those that they will start.
 * @param cpus of the guest
 * @param memory of the guest in bytes, if it is private: restored from a file
 * @param uid user and group of the processes, if they have one of their own
 * @throws Error if their memory cannot be limited
 */
export async function boundWithoutCgroup(
  pids: readonly number[],
  { cpus, memory = 0, uid }: { cpus: number; memory?: number; uid?: number | undefined },
): Promise<void> {
  for (const pid of pids) {
    lowerPriority(pid);
    await limitData(pid, DATA + DATA_OF_CPU * cpus + memory, uid);
  }
}

/** @param bytes of private memory */
async function limitData(pid: number, bytes: number, uid: number | undefined): Promise<void> {
  // `struct rlimit`: soft and hard limit.
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(BigInt(bytes), 0);
  limit.writeBigUInt64LE(BigInt(bytes), 8);
  if (prlimit(pid, RLIMIT_DATA, limit, null) === 0 || !runs(pid)) return;
  // Root without CAP_SYS_RESOURCE, as in a container of Docker, limits its own user's processes alone.
  const user = String(uid ?? process.getuid?.());
  const asUser = ['--reuid', user, '--regid', user, '--clear-groups'];
  await run('setpriv', [...asUser, 'prlimit', '--pid', String(pid), `--data=${bytes}`]);
}

/** @throws Error with what the program says */
function run(program: string, words: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(program, words, { timeout: PATIENCE }, (error, _, stderr) => {
      if (error === null) resolve();
      else reject(new Error(stderr.trim().split('\n')[0] || messageOf(error), { cause: error }));
    });
  });
}

/** Gives other programs of the host the CPU first. */
export function lowerPriority(pid: number): void {
  try {
    if (getPriority(pid) < NICENESS) setPriority(pid, NICENESS);
    if (getsid(pid) !== getsid(0) || getsid(pid) === pid) lowerSession(pid);
  } catch {
    // It has ended, or the host's kernel has no such file, or hides it.
  }
}

/**
 * Linux may schedule each session as one (sched(7), the autogroup feature). The niceness of a
 * process then counts among those of its session alone.
 */
function lowerSession(pid: number): void {
  const path = `/proc/${pid}/autogroup`;
  const [, nice] = /nice (-?\d+)/.exec(readFileSync(path, 'utf8')) ?? [];
  if (nice !== undefined && Number(nice) < NICENESS) writeFileSync(path, `${NICENESS}`);
}
