// What is measured, and in which unit.

export type Unit = 'ms' | 'us' | 'ns' | 'MiB' | 'KiB';

export interface Measure {
  name: string;
  /** What it is, in a few words. */
  title: string;
  unit: Unit;
}

/** An operation that the gauge repeats inside of the sandbox, and that has its name. */
export interface Operation extends Measure {
  /** Nanoseconds of a turn times this are the value. */
  scale: number;
}

export const START: Measure = { name: 'start', title: 'start: create to first output', unit: 'ms' };
export const MEMORY: Measure = { name: 'memory', title: 'memory of an idle sandbox', unit: 'MiB' };
export const CACHE: Measure = { name: 'cache', title: 'page cache that its processes map', unit: 'MiB' };
export const EXEC: Measure = { name: 'enter', title: 'one more command in it', unit: 'ms' };
export const COMMAND: Measure = { name: 'command', title: 'the command, inside', unit: 'ms' };

/** Not a figure: what is said of a level whose processes cannot be pinned. */
export const PINNING: Measure = { name: 'pinned', title: 'pinned', unit: 'ns' };

/** The measures of several sandboxes at once. */
export function crowdMeasures(count: number): Record<'start' | 'memory' | 'cache' | 'disk', Measure> {
  const each = `of each of ${count} sandboxes`;
  return {
    start: { name: `start-${count}`, title: `start ${each}, all at once`, unit: 'ms' },
    memory: { name: `memory-${count}`, title: `memory ${each}`, unit: 'MiB' },
    cache: { name: `cache-${count}`, title: `page cache ${each}`, unit: 'MiB' },
    disk: { name: 'disk', title: 'disk that one more container of the image adds', unit: 'KiB' },
  };
}

const operation = (name: string, title: string, unit: Unit, scale: number): Operation => {
  return { name, title, unit, scale };
};

export const OPERATIONS: readonly Operation[] = [
  operation('cpu', 'CPU: 1000 turns of a loop', 'us', 1e-3),
  operation('sha256', 'SHA-256 of 64 KiB', 'us', 1e-3),
  operation('syscall', 'system call (getppid)', 'ns', 1),
  operation('exec', 'fork and exec', 'us', 1e-3),
  operation('switch', 'a byte to another process and back', 'us', 1e-3),
  operation('fault', 'first write to a page of memory', 'ns', 1),
  operation('open', 'file open and close', 'ns', 1),
  operation('read', 'read of 512 bytes', 'ns', 1),
  operation('folder-open', 'folder: file open and close', 'us', 1e-3),
  operation('folder-read', 'folder: read of 512 bytes', 'us', 1e-3),
  operation('folder-create', 'folder: file made and removed', 'us', 1e-3),
  operation('folder-read-random', 'folder: read of 4 KiB, random', 'us', 1e-3),
  operation('folder-write-random', 'folder: write of 4 KiB, random', 'us', 1e-3),
  operation('folder-read-sequence', 'folder: 1 MiB read in sequence', 'us', 1e-3),
  operation('folder-write-sequence', 'folder: 1 MiB written in sequence', 'us', 1e-3),
];

/** In a sandbox with a network, to a server of the gauge at the host's side. */
export const TCP_OPERATIONS: readonly Operation[] = [
  operation('tcp-round-trip', 'TCP: a byte to the host and back', 'us', 1e-3),
  operation('tcp-send', 'TCP: 1 MiB to the host', 'us', 1e-3),
  operation('tcp-receive', 'TCP: 1 MiB from the host', 'us', 1e-3),
];

/** True if an operation is one in the folder of the host. */
export function usesFolder({ name }: Measure): boolean {
  return name.startsWith('folder-');
}

/** A sleep of a known length, which checks the measure itself. */
export const SLEEP: Operation = operation('sleep', 'sleep of 10 ms', 'ms', 1e-6);
