// What a machine uses of the host, as its cgroup counts it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface CgroupUsage {
  /** Milliseconds of CPU time. */
  cpu: number;
  /** Bytes of memory, without the page cache that can be dropped at once, like Docker. */
  memory: number;
  /** Processes and threads. */
  pids: number;
  /** Bytes from and to disks of the host. Undefined where the cgroup has no such controller. */
  disk: { read: number; written: number } | undefined;
}

/** Undefined if there is no such cgroup (any more). */
export function cgroupUsage(path: string): CgroupUsage | undefined {
  const read = (name: string) => readFileSync(join(path, name), 'utf8');
  try {
    return {
      cpu: field(read('cpu.stat'), 'usage_usec') / 1000,
      memory: Math.max(0, Number(read('memory.current')) - field(read('memory.stat'), 'inactive_file')),
      pids: Number(read('pids.current')),
      disk: diskUsage(path),
    };
  } catch {
    return undefined;
  }
}

/** Sums over all disks. */
function diskUsage(path: string): CgroupUsage['disk'] {
  try {
    const sums = { read: 0, written: 0 };
    for (const [, direction, bytes] of readFileSync(join(path, 'io.stat'), 'utf8').matchAll(/\b([rw])bytes=(\d+)/g)) {
      sums[direction === 'r' ? 'read' : 'written'] += Number(bytes);
    }
    return sums;
  } catch {
    return undefined;
  }
}

function field(text: string, key: string): number {
  return Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
}
