// The host memory of processes: proc(5), /proc/PID/smaps_rollup.
import { readdirSync, readFileSync } from 'node:fs';

export interface Weight {
  /**
   * `MiB` that the processes have of their own: anonymous memory and shared memory such as a guest's,
   * shared pages in part (proportional set size).
   */
  memory: number;
  /** `MiB` of files that they have mapped: page cache, which other processes may share. */
  cache: number;
}

/** Returns the pids of the processes that process `pid` started, and of those that they started. */
export function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

function childrenOf(pid: number): number[] {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return processes.map(Number).filter((process) => parentOf(process) === pid);
}

export function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(read(pid, 'status'))?.[1]);
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch {
    // The process ended after it was listed.
    return '';
  }
}

/**
 * Returns what a process and those that it started weigh together.
 * @throws Error if the kernel hides the memory of one of them
 */
export function weigh(pid: number): Weight {
  const weight = { memory: 0, cache: 0 };
  for (const each of [pid, ...descendantsOf(pid)]) {
    const { memory, cache } = weighOne(each);
    weight.memory += memory;
    weight.cache += cache;
  }
  return weight;
}

function weighOne(pid: number): Weight {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const mebibytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) / 1024;
  return { memory: mebibytes('Pss_Anon') + mebibytes('Pss_Shmem'), cache: mebibytes('Pss_File') };
}
