// What is measured, and in which unit.

export type Unit = 'ms' | 'us' | 'ns' | 'MiB';

export interface Measure {
  name: string;
  /** What it is, in a few words. */
  title: string;
  unit: Unit;
}

/** An operation that the gauge repeats inside of the sandbox. */
export interface Operation extends Measure {
  /** The gauge's name of it. */
  operation: string;
  /** Nanoseconds of a turn times this are the value. */
  scale: number;
}

export const START: Measure = { name: 'start', title: 'start: create to first output', unit: 'ms' };
export const MEMORY: Measure = { name: 'memory', title: 'memory of an idle sandbox', unit: 'MiB' };
export const CACHE: Measure = { name: 'cache', title: 'page cache that its processes map', unit: 'MiB' };
export const EXEC: Measure = { name: 'enter', title: 'one more command in it', unit: 'ms' };
export const COMMAND: Measure = { name: 'command', title: 'the command, inside', unit: 'ms' };

const operation = (name: string, title: string, unit: Unit, scale: number): Operation => {
  return { name, title, unit, scale, operation: name };
};

export const OPERATIONS: readonly Operation[] = [
  operation('cpu', 'CPU: 1000 turns of a loop', 'us', 1e-3),
  operation('syscall', 'system call (getppid)', 'ns', 1),
  operation('exec', 'fork and exec', 'us', 1e-3),
  operation('open', 'file open and close', 'ns', 1),
  operation('read', 'read of 512 bytes', 'ns', 1),
];

/** A sleep of a known length, which checks the measure itself. */
export const SLEEP: Operation = operation('sleep', 'sleep of 10 ms', 'ms', 1e-6);
