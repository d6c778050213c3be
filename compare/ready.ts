// Programs that say when they are ready.
import type { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { within } from '../deadline/index.js';

/**
 * Waits for what a program says. Returns false if it ends before, does not start, or takes longer; or if
 * `signal` is aborted.
 * @param collect is given each part of the output, and returns true when the program is ready. It is given
 * what comes later too
 */
export async function saysReady(
  program: ChildProcess,
  output: Readable,
  collect: (part: Buffer) => boolean,
  milliseconds: number,
  signal: AbortSignal,
): Promise<boolean> {
  const until = within(milliseconds, signal);
  const ended = new AbortController();
  return await new Promise<boolean>((resolve) => {
    const tell = (isReady: boolean) => {
      ended.abort();
      resolve(isReady);
    };
    until.addEventListener('abort', () => tell(false), { signal: ended.signal });
    output.on('data', (part: Buffer) => {
      if (collect(part)) tell(true);
    });
    program.once('close', () => tell(false));
    program.once('error', () => tell(false));
    if (until.aborted) tell(false);
  });
}
