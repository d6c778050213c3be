// A process and those that it started.
import { readdirSync, readFileSync } from 'node:fs';
import { hasCode } from '../../errors/index.js';

/** The process `pid`, and all below it. Without one that has ended meanwhile. */
export function processTree(pid: number): number[] {
  const found = [pid];
  for (const each of found) found.push(...childrenOf(each));
  return found;
}

function childrenOf(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
    );
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ESRCH')) throw error;
    // A kernel without CONFIG_PROC_CHILDREN, or the process has ended.
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
      .map(Number);
  }
}

/** Undefined for a process that has ended. */
function parentOf(pid: string): number | undefined {
  try {
    // The parent is the fourth field. The second, a name, may contain anything.
    return Number(
      readFileSync(`/proc/${pid}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ')[1],
    );
  } catch {
    return undefined;
  }
}
