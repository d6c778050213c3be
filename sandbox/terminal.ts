// The caller's terminal as the process's: keys go through raw, and the size follows.
import type { ReadStream } from 'node:tty';
import type { TerminalSize } from './agent-protocol.js';
import type { ContainerRun } from './run.js';

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
export function attachTerminal(
  run: ContainerRun,
  input: ReadStream | undefined,
  output: NodeJS.WriteStream,
): Disposable {
  let disposed = false;
  const resize = () => run.resize(terminalSize(output)!);
  run.started.then(() => {
    if (disposed) return;
    input?.setRawMode(true);
    if (!output.isTTY) return;
    output.on('resize', resize);
    // It may have changed while the guest started.
    resize();
  });
  return {
    [Symbol.dispose]: () => {
      disposed = true;
      output.off('resize', resize);
      input?.setRawMode(false);
    },
  };
}
