// A process in the foreground: it uses the caller's streams, terminal and signals.
import type { ContainerIo } from '../../sandbox/running.js';
import { passOutputThrough } from '../output/reader.js';
import { forwardSignals } from './signals.js';
import { attachTerminal, type Foreground, holdOutput, terminalSize } from './terminal.js';

export interface ForegroundOptions {
  /** The process has a terminal. */
  terminal: boolean;
  /** The process reads the caller's stdin. */
  stdin: boolean;
  /** Forward the caller's signals. Default true. */
  signals?: boolean | undefined;
}

/** The caller's streams. */
export interface CallerIo extends ContainerIo {
  /** Keeps the output back until `inForeground` has made the caller's terminal ready for it. */
  held: Disposable;
}

/**
 * The caller's streams, which are the container's from now on.
 * @param terminal the process has a terminal
 */
export function callerIo(stdin: boolean, terminal: boolean): CallerIo {
  passOutputThrough();
  const size = terminalSize(process.stdout);
  return {
    held: holdOutput({ terminal, stdin }),
    ...(stdin && { stdin: process.stdin }),
    stdout: process.stdout,
    stderr: process.stderr,
    ...(size && { terminalSize: size }),
  };
}

/** Waits until a process in the foreground exits. Resolves to its exit code. */
export async function inForeground(
  process: Foreground,
  exit: Promise<number>,
  { held }: Pick<CallerIo, 'held'>,
  { terminal, stdin, signals = true }: ForegroundOptions,
): Promise<number> {
  using _signals = signals ? forwardSignals(process) : undefined;
  using _terminal = terminal
    ? attachTerminal(process, stdin ? globalThis.process.stdin : undefined, globalThis.process.stdout, held)
    : undefined;
  return await exit;
}
