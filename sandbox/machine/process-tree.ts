// Processes and those that they started, as far as /proc shows them.
import { readdirSync, readFileSync } from 'node:fs';
import { hasCode } from '../../errors/index.js';

/**
 * The processes `pids`, and all below them, each once. Without one that has ended meanwhile, and
 * without those that /proc hides from this user (proc(5), hidepid).
 */
export function processTree(...pids: number[]): number[] {
  const found = new Set(pids);
  for (const each of found) for (const child of childrenOf(each)) found.add(child);
  return [...found];
}

function childrenOf(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch (error) {
    // hidepid=1: a process that is another user's, or that no other process may read.
    if (!hasCode(error, 'ENOENT', 'ESRCH', 'EPERM', 'EACCES')) throw error;
    // Also a kernel without CONFIG_PROC_CHILDREN. With hidepid=2, no process is there.
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
      .map(Number);
  }
}

/** Undefined for a process that has ended, or is hidden. */
function parentOf(pid: string): number | undefined {
  try {
    // The parent is the fourth field. The second, a name, may contain anything.
    return Number(
      readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')[1],
    );
  } catch {
    return undefined;
  }
}
