// Waits that a signal ends, for work that it does not end.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Waits for work until a signal. The work goes on then, and nobody hears of its end.
 * @throws what the work throws; the reason of `signal`
 */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const ended = new AbortController();
  const aborted = new Promise<never>((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { signal: ended.signal });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    ended.abort();
  }
}

/**
 * Writes the file system of a folder to the disk, so that the kernel does not while others measure. A
 * program does it: nothing ends a thread that waits for a disk.
 * @throws the reason of `signal`
 */
export async function flush(folder: string, signal: AbortSignal): Promise<void> {
  const sync = spawn('sync', ['--file-system', folder], { stdio: 'ignore' });
  try {
    await unlessAborted(once(sync, 'exit'), signal);
  } catch {
    signal.throwIfAborted();
  } finally {
    sync.kill('SIGKILL');
    sync.unref();
  }
}
