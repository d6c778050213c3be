// Keeps the processes of a machine, of which one at a time runs, on one processor. User-Mode Linux
// and the processes of its guest's programs wait for each other at each system call. The host's
// scheduler would wake each on an idle processor, which takes as long as the call itself.
//
// Which processor that is, the host's scheduler chooses: if the machine waits for it, because others
// have it too, the scheduler may move the machine for a moment, and it is kept where it is then.
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { libcFunction } from '../../libc/index.js';
import type { Companion } from './companion.js';

/** Milliseconds from one look to the next. */
const KEPT = 250;
/** Milliseconds in which the scheduler moves the machine: it compares busy processors less often than idle ones. */
const RELEASED = 30;
/** The share of its time for which a machine may wait. */
const WAIT = 1 / 8;
/** Time slices from one look to the next, of a machine that is idle. */
const IDLE = 5;
/** The most processes of a machine that is kept: to look at each costs the owner time. */
const MOST = 300;
/** Milliseconds from one look to the next at a machine that has more. */
const MANY = 5000;

/** Bytes of a `cpu_set_t` for 8192 processors. */
const MASK = 1024;
type AffinityCall = [pid: number, size: number, mask: Uint8Array];
const getAffinity = libcFunction<AffinityCall>('int sched_getaffinity(int, size_t, void *)');
const setAffinity = libcFunction<AffinityCall>('int sched_setaffinity(int, size_t, const void *)');

/** Nanoseconds, and the number of time slices. */
interface Times {
  ran: number;
  waited: number;
  slices: number;
}

/**
 * Keeps the program of a companion, and all processes that it has started, on one processor until it
 * ends. On a kernel that does not tell the processes of a process (CONFIG_PROC_CHILDREN), does nothing.
 */
export async function keepOnOneProcessor(companion: Pick<Companion, 'report' | 'pids' | 'pid'>): Promise<void> {
  await companion.report;
  const pid = companion.pids.at(-1);
  if (pid === undefined || readProc(pid, `task/${pid}/children`) === undefined) return;
  const processes = new Processes(pid);
  // The number of one that has ended may be another's.
  while (companion.pid !== undefined) {
    const pause = processes.look();
    if (pause === undefined) return;
    await setTimeout(pause, undefined, { ref: false });
  }
}

/** The processes of a machine. */
class Processes {
  readonly #pid: number;
  /** The processors of the machine as others set them. */
  #all: Buffer | undefined;
  /** The one that it is kept on. Undefined: it may be moved. */
  #kept: Buffer | undefined;
  /** At the last look at all processes. */
  #times = new Map<number, Times>();
  #looked = performance.now();
  /** Of the first process, at the last look at it. */
  #slices = 0;

  /** @param pid of the first of them, which starts all others */
  constructor(pid: number) {
    this.#pid = pid;
    this.#all = affinityOf(pid);
  }

  /** Returns the milliseconds to the next look; undefined: the first process has ended. */
  look(): number | undefined {
    const now = affinityOf(this.#pid);
    const first = timesOf(this.#pid);
    if (now === undefined || first === undefined) return undefined;
    if (!(this.#kept ?? this.#all)?.equals(now)) {
      this.#all = now;
      this.#kept = undefined;
    }
    const isIdle = first.slices - this.#slices < IDLE;
    this.#slices = first.slices;
    if (this.#kept !== undefined && isIdle) return KEPT;
    const members = this.#members();
    if (members.length > MOST) {
      if (this.#kept !== undefined) this.#release();
      return MANY;
    }
    const { waits, busiest } = this.#compare(members);
    if (this.#kept === undefined) this.#keep(processorOf(busiest));
    else if (waits) this.#release();
    return this.#kept === undefined ? RELEASED : KEPT;
  }

  /** Returns whether the machine has waited much since the last call, and which of its processes ran longest. */
  #compare(members: readonly number[]): { waits: boolean; busiest: number } {
    const elapsed = (performance.now() - this.#looked) * 1e6;
    this.#looked = performance.now();
    const before = this.#times;
    this.#times = new Map();
    let waited = 0;
    let longest = 0;
    let busiest = this.#pid;
    for (const pid of members) {
      const times = timesOf(pid);
      if (times === undefined) continue;
      this.#times.set(pid, times);
      const last = before.get(pid) ?? { ran: 0, waited: 0 };
      waited += times.waited - last.waited;
      if (times.ran - last.ran > longest) [longest, busiest] = [times.ran - last.ran, pid];
    }
    return { waits: waited > elapsed * WAIT, busiest };
  }

  #keep(processor: number | undefined): void {
    if (processor === undefined || processor >= MASK * 8) return;
    const mask = Buffer.alloc(MASK);
    mask[processor >> 3] = 1 << (processor & 7);
    this.#set(mask);
    this.#kept = mask;
  }

  #release(): void {
    if (this.#all !== undefined) this.#set(this.#all);
    this.#kept = undefined;
  }

  /**
   * A process that is started later has the processors of the one that starts it, which may be one that
   * is not done yet: hence twice.
   */
  #set(mask: Buffer): void {
    const done = new Set<number>();
    for (const pid of [...this.#members(), ...this.#members()]) {
      // One that has ended has none.
      if (!done.has(pid)) setAffinity(pid, MASK, mask);
      done.add(pid);
    }
  }

  #members(): number[] {
    return [
      this.#pid,
      ...(readProc(this.#pid, `task/${this.#pid}/children`) ?? '').split(' ').filter(Boolean).map(Number),
    ];
  }
}

/** Undefined for a process that has ended. */
function affinityOf(pid: number): Buffer | undefined {
  const mask = Buffer.alloc(MASK);
  return getAffinity(pid, MASK, mask) < 0 ? undefined : mask;
}

/**
 * `/proc/<pid>/schedstat` in Documentation/scheduler/sched-stats.rst of Linux. Undefined for a process
 * that has ended.
 */
function timesOf(pid: number): Times | undefined {
  const [ran = 0, waited = 0, slices = 0] = (readProc(pid, 'schedstat') ?? '').split(' ').map(Number);
  return slices === 0 ? undefined : { ran, waited, slices };
}

/** The processor that a process has last run on: the field `processor` of `/proc/<pid>/stat`, proc(5). */
function processorOf(pid: number): number | undefined {
  const fields = readProc(pid, 'stat')
    ?.replace(/^.*\) /s, '')
    .split(' ');
  return fields === undefined ? undefined : Number(fields[36]);
}

/**
 * Undefined for a process that has ended, or that this user may not see. As UTF-8, since Node.js reads
 * text of another encoding into buffers of 64 KiB, which takes three times as long.
 */
function readProc(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return undefined;
  }
}
