// The host: what it is, and how busy it is with other work.
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from './statistics.js';

/** Shares of the CPUs that other work may take. */
const BUSY = { median: 0.1, most: 0.3 };

export function describeHost(version: string) {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: availableParallelism(),
    memory: totalmem(),
    kernel: release(),
    node: process.version,
    tsvm: version,
  };
}

/** Ticks of all CPUs since the boot (proc(5), /proc/stat): all, and those without work. */
function ticks(): { all: number; idle: number } {
  const [, ...fields] = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0]?.split(/\s+/) ?? [];
  // The last two are part of the first two.
  const counts = fields.slice(0, 8).map(Number);
  return { all: counts.reduce((sum, count) => sum + count, 0), idle: (counts[3] ?? 0) + (counts[4] ?? 0) };
}

/** The share of the CPUs that is in use while this program waits. */
export async function watchLoad(milliseconds: number, signal: AbortSignal): Promise<number> {
  const before = ticks();
  await sleep(milliseconds, undefined, { signal }).catch(() => signal.throwIfAborted());
  const after = ticks();
  const all = after.all - before.all;
  return all === 0 ? 0 : 1 - (after.idle - before.idle) / all;
}

/** What to say of a host that was busy. */
export function warnOfLoad(busy: readonly number[]): string[] {
  if (busy.length === 0) return [];
  const [middle, most] = [quantile(busy, 0.5), Math.max(...busy)];
  if (middle <= BUSY.median && most <= BUSY.most) return [];
  const percent = (share: number) => `${Math.round(share * 100)} %`;
  return [
    `other programs used the CPUs: ${percent(middle)} of them in the median, ${percent(most)} at most; repeat it on a quiet host`,
  ];
}
