// Connects the caller's terminal to the process: raw mode for its input, and its size.
import type { ReadStream } from 'node:tty';
import { passOutput } from '../../libc/termios.js';
import type { TerminalSize } from '../../sandbox/internal.js';

/** Signals that end this process if it does not forward them. Node.js restores a terminal at two. */
const ENDING = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGALRM', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const;

/** A process in the foreground. */
export interface Foreground {
  /** Resolves when the process runs; may reject. */
  readonly started: Promise<void>;
  /** The number of chunks of output so far. */
  readonly outputChunks: number;
  /** 1 to 64. */
  signal(signal: number): void;
  resize(size: TerminalSize): void;
  /** Ends the process, or detaches from it, at once. */
  abort(error: Error): void;
}

/** The size of a terminal; undefined if the stream is not a terminal. */
export function terminalSize(output: NodeJS.WriteStream): TerminalSize | undefined {
  if (!output.isTTY) return undefined;
  const [columns, rows] = output.getWindowSize();
  return { columns, rows };
}

/**
 * Holds back what is written to the caller's terminal until it is in raw mode, if it is to be: the
 * output of a process with a terminal has carriage returns of its own.
 * @param how whether the process has a terminal, and reads the caller's
 */
export function holdOutput({ terminal, stdin }: { terminal: boolean; stdin: boolean }): Disposable {
  const output = process.stdout;
  let isHeld = terminal && stdin && process.stdin.isTTY && output.isTTY;
  if (isHeld) output.cork();
  return {
    [Symbol.dispose]: () => {
      if (isHeld) output.uncork();
      isHeld = false;
    },
  };
}

/**
 * Connects the caller's terminal from the start of the process until disposed. Raw mode waits for
 * the start, so that Ctrl-C still ends a run whose process has not started.
 *
 * @param input is set to raw mode; absent if the process does not read it
 * @param held is disposed of once the terminal is as the output needs it
 */
export function attachTerminal(
  run: Foreground,
  input: (ReadStream & { fd: number }) | undefined,
  output: NodeJS.WriteStream,
  held: Disposable,
): Disposable {
  let disposed = false;
  const end = (name: NodeJS.Signals) => {
    if (process.listenerCount(name) > 1) return;
    input?.setRawMode(false);
    process.off(name, end);
    process.kill(process.pid, name);
  };
  const resize = () => run.resize(terminalSize(output)!);
  const start = () => {
    if (disposed) return;
    if (input !== undefined) {
      for (const name of ENDING) process.on(name, end);
      input.setRawMode(true);
      // Node.js leaves the output of a terminal in raw mode as it was. The container's own terminal
      // adds the carriage returns. The end of raw mode restores all settings.
      passOutput(input.fd);
    }
    held[Symbol.dispose]();
    if (!output.isTTY) return;
    output.on('resize', resize);
    // The size may have changed while the guest booted.
    resize();
  };
  run.started.then(start, () => held[Symbol.dispose]());
  return {
    [Symbol.dispose]: () => {
      disposed = true;
      held[Symbol.dispose]();
      output.off('resize', resize);
      input?.setRawMode(false);
      for (const name of ENDING) process.off(name, end);
    },
  };
}
