// The system calls that processes of the host make, counted by strace(1).
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { findProgram } from '../../programs/index.js';
import { CompareError } from '../errors.js';
import { saysReady } from '../ready.js';
import { isEndedOrTraced } from './processes.js';

/** Milliseconds that strace has to attach, and to end. */
const PATIENCE = 30_000;
/**
 * What strace says of a process that it has attached to, with its threads, or not: "Process 12
 * attached with 3 threads", "ptrace(PTRACE_SEIZE, 12): No such process". It goes on with the
 * others.
 */
const TOLD = /Process (\d+) attached|ptrace\(PTRACE_\w+, (\d+)\): .+(?=\n)/g;

export interface Made {
  name: string;
  calls: number;
}

/** Counts while it is open. */
export interface Counting {
  /** Ends the counting. @throws CompareError `level` */
  end(): Promise<Made[]>;
}

/**
 * Attaches to processes, and returns when it counts the calls of all of them. One that has ended
 * makes none, and the calls of one that has a tracer are made by that.
 * @param pids of processes, or of threads if no other is followed
 * @param path of a file for the counts
 * @param follow `alone`: not the threads and processes that they start
 * @throws CompareError `level`; the reason of `signal`
 */
export async function countCalls(
  pids: readonly number[],
  path: string,
  signal: AbortSignal,
  follow: 'children' | 'alone' = 'children',
): Promise<Counting> {
  signal.throwIfAborted();
  const program = findProgram('strace');
  if (program === undefined) throw new CompareError('level', 'strace is not installed: apt-get install strace');
  const words = [
    ...(follow === 'children' ? ['-f'] : []),
    '-c',
    '-U',
    'calls,name',
    '-o',
    path,
    ...pids.flatMap((pid) => ['-p', String(pid)]),
  ];
  const tracer = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let told = '';
  const attachedTo = new Set<number>();
  const refused = new Map<number, string>();
  const closed = new Promise<void>((resolve) => {
    tracer.once('close', () => resolve());
    tracer.once('error', () => resolve());
  });
  const stop = async (how: NodeJS.Signals) => {
    tracer.kill(how);
    const timer = setTimeout(() => tracer.kill('SIGKILL'), PATIENCE);
    await closed;
    clearTimeout(timer);
  };
  const attached = await saysReady(
    tracer,
    tracer.stderr,
    (part) => {
      told = (told + part).slice(-65_536);
      for (const [words, one, other] of told.matchAll(TOLD)) {
        if (one !== undefined) attachedTo.add(Number(one));
        else refused.set(Number(other), words);
      }
      return pids.every((pid) => attachedTo.has(pid) || refused.has(pid));
    },
    PATIENCE,
    signal,
  );
  if (!attached) {
    await stop('SIGKILL');
    signal.throwIfAborted();
    throw new CompareError('level', `strace: ${told.trim().split('\n').at(-1) || 'it has not attached'}`);
  }
  for (const [pid, words] of refused) {
    // The kernel says the same of one that has just ended or got a tracer as of one that it
    // protects.
    if (isEndedOrTraced(pid)) continue;
    await stop('SIGKILL');
    throw new CompareError('level', `strace: ${words}`);
  }
  return {
    async end() {
      await stop('SIGINT');
      return parseCounts(readFileSync(path, 'latin1'));
    },
  };
}

/** Reads the table that `strace -c -U calls,name` prints. */
export function parseCounts(text: string): Made[] {
  return [...text.matchAll(/^\s*(\d+) (\w+)$/gm)]
    .map(([, calls, name = '']) => ({ name, calls: Number(calls) }))
    .filter(({ name }) => name !== 'total');
}

/** The sum of several counts. */
export function addCounts(counts: readonly (readonly Made[])[]): Made[] {
  const sums = new Map<string, number>();
  for (const { name, calls } of counts.flat()) sums.set(name, (sums.get(name) ?? 0) + calls);
  return [...sums].map(([name, calls]) => ({ name, calls })).sort((one, other) => other.calls - one.calls);
}
