// The host's surface that a level leaves: the system calls that its processes may make, the ones that
// they make under load, and what they hold of the host.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../errors/index.js';
import { builtFile } from '../../installation/index.js';
import type { BpfInstruction } from '../../seccomp/bpf.js';
import { SYSCALLS } from '../../seccomp/syscalls.js';
import { CompareError } from '../errors.js';
import { FOLDER, GAUGE, type PreparedLevel } from '../level.js';
import { OPERATIONS, usesFolder } from '../measures.js';
import { descendantsOf } from '../memory.js';
import type { SurfaceReport } from '../report.js';
import { type Ended, end, run, SETTLE, startIdling, succeeded } from '../running.js';
import { allowedBy, parseFilter } from './filter.js';
import { addCounts, type Counting, countCalls } from './made.js';
import { describeProcess, type HostProcess, threadsOf } from './processes.js';
import { traceFunctions } from './reached.js';

/** Milliseconds that the work may take while it is traced. */
const PATIENCE = 240_000;
/** The file that the gauge waits for. */
const GO = 'go';
/** The gauge's exit code for a thread that has ended. */
const GONE = 124;

export interface SurfaceOptions {
  id: string;
  /** The host's folder that the sandbox has at `FOLDER`. */
  shared: string;
  /** A folder of the host for files of this look. */
  folder: string;
  signal: AbortSignal;
  /** True if the host lets the functions of its kernel be traced. */
  traceable: boolean;
  /** A part has no value here. */
  onNone(name: string, reason: string): void;
}

/** @throws CompareError if the level fails; the reason of `signal` */
export async function measureSurface(level: PreparedLevel, options: SurfaceOptions): Promise<SurfaceReport> {
  const { id, shared, folder, signal, traceable, onNone } = options;
  const hasFolder = level.folderless === undefined;
  const names = OPERATIONS.filter((each) => hasFolder || !usesFolder(each)).map(({ name }) => name);
  // Where the gauge looks for the file.
  const place = hasFolder ? FOLDER : '/tmp';
  rmSync(join(shared, GO), { force: true });
  try {
    await using idling = await startIdling(
      level.start(id, [GAUGE, 'work', place, ...names]),
      signal,
      level.remove?.(id),
    );
    await settle(level, idling.pid, signal);
    const pids = [idling.pid, ...descendantsOf(idling.pid)];
    const processes = describeAll(pids);
    const report: SurfaceReport = { processes: processes.map((each) => toReport(each, facesOf(level, processes))) };
    const part = async (name: string, measure: () => Promise<void>) => {
      try {
        await measure();
      } catch (error) {
        signal.throwIfAborted();
        onNone(name, messageOf(error));
      }
    };
    await part('allowed', async () => {
      Object.assign(report, await findAllowed(facesOf(level, processes), signal));
    });
    let times = 0;
    /** Lets the gauge work, and waits until it has. */
    const work = async () => {
      times++;
      if (hasFolder) writeFileSync(join(shared, GO), '');
      else succeeded(await run(level.exec(id, pids.at(-1) ?? idling.pid, [GAUGE, 'go', place]), signal, idling));
      await idling.says(`done ${times}`, PATIENCE, signal);
    };
    // Before strace, whose work would be among the functions.
    await part('reached', async () => {
      if (!traceable) return;
      const tracing = await traceFunctions(id, pids.flatMap(threadsOf), signal);
      try {
        await work();
      } catch (error) {
        await tracing.end().catch(() => {});
        throw error;
      }
      report.reached = await tracing.end();
    });
    await part('made', async () => {
      const untraced = processes.filter(({ traced }) => !traced);
      const alone = untraced.filter(({ words }) => level.traces?.test(words));
      const followed = untraced.filter((each) => !alone.includes(each));
      const countings: Counting[] = [];
      const endAll = () => Promise.all(countings.map((each) => each.end()));
      const path = join(folder, `${id}.calls`);
      try {
        for (const { pid } of alone) {
          const threads = threadsOf(pid);
          if (threads.length > 0) countings.push(await countCalls(threads, `${path}-${pid}`, signal, 'alone'));
        }
        const pids = followed.map(({ pid }) => pid);
        countings.push(await countCalls(pids, path, signal));
        await work();
      } catch (error) {
        await endAll().catch(() => {});
        throw error;
      }
      report.made = addCounts(await endAll());
    });
    return report;
  } finally {
    await end(level, id);
  }
}

/**
 * Waits until what only the start needs has ended.
 * @throws CompareError `level` if it does not end; the reason of `signal`
 */
async function settle(level: PreparedLevel, pid: number, signal: AbortSignal): Promise<void> {
  const late = performance.now() + PATIENCE;
  do {
    if (performance.now() > late) throw new CompareError('level', 'a process of its start has not ended');
    await sleep(SETTLE, undefined, { signal }).catch(() => signal.throwIfAborted());
  } while (describeAll(descendantsOf(pid)).some(({ words }) => level.prepares?.test(words)));
}

/** Those that have not ended. */
const describeAll = (pids: readonly number[]): HostProcess[] =>
  pids.map(describeProcess).filter((each) => each !== undefined);

/** The gauge, as the host sees it if the sandbox has no kernel of its own. */
const OWN = /^\/\.tsvm-gauge /;

/**
 * The processes that code in the sandbox could take over first: those that the level names, or the
 * sandbox's own.
 */
function facesOf({ faces = OWN }: PreparedLevel, processes: readonly HostProcess[]): HostProcess[] {
  return processes.filter(({ words, traced }) => faces.test(words) && !traced);
}

function toReport(process: HostProcess, faces: readonly HostProcess[]): SurfaceReport['processes'][number] {
  const { name, uid, capabilities, capabilitiesIn, namespaces, files } = process;
  return { name, faces: faces.includes(process), uid, capabilities, capabilitiesIn, namespaces, files };
}

/**
 * What the filters of processes let through: by their code, and by trying. A call counts if one of the
 * threads may make it.
 */
async function findAllowed(
  faces: readonly HostProcess[],
  signal: AbortSignal,
): Promise<Pick<SurfaceReport, 'allowed' | 'tried'>> {
  if (faces.length === 0) throw new CompareError('level', 'none of its processes is the one that the level names');
  const stacks = new Map<string, string[]>();
  for (const { pid } of faces) {
    for (const thread of threadsOf(pid)) {
      const filters = await filtersOf(thread, signal);
      if (filters !== undefined) stacks.set(filters.join(), filters);
    }
  }
  if (stacks.size === 0) throw new CompareError('level', 'the processes that the level names have ended');
  const allowed = new Set<string>();
  const tried = new Set<string>();
  for (const filters of stacks.values()) {
    const code: BpfInstruction[][] = filters.map(parseFilter);
    for (const name of allowedBy(code)) allowed.add(name);
    // A filter is tried alone: a filter below it might refuse to install it.
    const found = [];
    for (const filter of filters) found.push(new Set(linesOf(await gauge(signal, 'try', filter)).map(Number)));
    for (const [name, call] of SYSCALLS) if (found.every((calls) => calls.has(call))) tried.add(name);
  }
  return { allowed: [...allowed].sort(), tried: tried.size };
}

/**
 * The filters of a thread, as the gauge prints them. Undefined: the thread has ended.
 * @throws CompareError `level`
 */
export async function filtersOf(thread: number, signal: AbortSignal): Promise<string[] | undefined> {
  const ended = await gauge(signal, 'filters', String(thread));
  return ended.code === GONE ? undefined : linesOf(ended);
}

async function gauge(signal: AbortSignal, ...words: readonly string[]): Promise<Ended> {
  return await run({ words: [builtFile('tsvm-gauge'), ...words], env: {} }, signal);
}

function linesOf(ended: Ended): string[] {
  succeeded(ended);
  return ended.stdout.split('\n').filter((line) => line !== '');
}
