// The caller's terminal as the process's: keys go through raw, and the size follows.
import type { ReadStream } from 'node:tty';
import type { TerminalSize } from '../../sandbox/internal.js';

/** A process in the foreground. */
export interface Foreground {
  /** Resolves when it runs; may reject. */
  readonly started: Promise<void>;
  /** Counts the chunks of output that it has written. */
  readonly outputChunks: number;
  /** 1 to 64. */
  signal(signal: number): void;
  resize(size: TerminalSize): void;
  /** Ends it, or what binds us to it, at once. */
  abort(error: Error): void;
}

/** The size of a terminal, or nothing when the stream is none. */
export function terminalSize(output: NodeJS.WriteStream): TerminalSize | undefined {
  if (!output.isTTY) return undefined;
  const [columns, rows] = output.getWindowSize();
  return { columns, rows };
}

/**
 * Connects the caller's terminal from the start of the process until disposed of. Raw mode waits for the start, so
 * that Ctrl-C still ends a run whose process is not there to get it.
 *
 * @param input set to raw mode; absent when the process does not read from it
 */
export function attachTerminal(run: Foreground, input: ReadStream | undefined, output: NodeJS.WriteStream): Disposable {
  let disposed = false;
  const resize = () => run.resize(terminalSize(output)!);
  const start = () => {
    if (disposed) return;
    input?.setRawMode(true);
    if (!output.isTTY) return;
    output.on('resize', resize);
    // It may have changed while the guest started.
    resize();
  };
  run.started.then(start, () => {});
  return {
    [Symbol.dispose]: () => {
      disposed = true;
      output.off('resize', resize);
      input?.setRawMode(false);
    },
  };
}
