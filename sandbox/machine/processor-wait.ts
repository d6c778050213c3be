// How long a machine's threads waited for a processor that other programs of the host had.
import { readdirSync, readFileSync } from 'node:fs';
import { processTree } from './process-tree.js';

/**
 * Milliseconds that the threads of these processes, and of those that they started, have waited since
 * their start, all added up: threads of a machine wait for one another, so one that sleeps may wait
 * for one that waits for a processor. What cannot be read has not waited: a process that has ended or
 * is hidden, a kernel that does not count.
 *
 * `/proc/<pid>/schedstat` in Documentation/scheduler/sched-stats.rst of Linux.
 */
export function processorWait(pids: readonly number[]): number {
  return processTree(...pids).reduce((sum, pid) => sum + nanosecondsOf(pid), 0) / 1e6;
}

function nanosecondsOf(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  try {
    // Time on a processor, time of waiting for one, number of time slices.
    const waits = readdirSync(tasks).map((thread) =>
      Number(readFileSync(`${tasks}/${thread}/schedstat`, 'utf8').split(' ')[1]),
    );
    return waits.reduce((sum, wait) => sum + wait, 0);
  } catch {
    return 0;
  }
}
