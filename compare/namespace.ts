// A namespace of the host that a process holds.
import { spawn } from 'node:child_process';
import { CompareError } from './errors.js';
import { saysReady } from './ready.js';

/** Milliseconds that a namespace has to be ready. */
const PATIENCE = 30_000;

/** Disposal ends the process that holds the namespace. */
export interface HeldNamespace extends AsyncDisposable {
  pid: number;
  /** What followed `ready`. */
  said: string;
}

/**
 * @param options of unshare(1)
 * @param script of sh, which prepares the namespace. If it becomes a program, that says `ready` itself,
 * and ends with its input
 * @throws CompareError `level`; the reason of `signal`
 */
export async function holdNamespace(
  signal: AbortSignal,
  options: readonly string[],
  script: string,
  ...words: readonly string[]
): Promise<HeldNamespace> {
  signal.throwIfAborted();
  // The shell ends with its input, which is with its owner.
  const held = `set -e\n${script}\necho ready\nread end || :`;
  const holder = spawn('unshare', [...options, 'sh', '-c', held, 'sh', ...words], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  holder.stdin.on('error', () => {});
  let [said, told] = ['', ''];
  holder.stderr.on('data', (chunk: Buffer) => {
    told += chunk;
  });
  const ended = new Promise<void>((resolve) => {
    holder.once('error', () => resolve());
    holder.once('exit', () => resolve());
  });
  const stop = async () => {
    if (holder.pid !== undefined && holder.exitCode === null && holder.signalCode === null) {
      // What it has started is in its group.
      try {
        process.kill(-holder.pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
      await ended;
    }
    for (const stream of holder.stdio) stream?.destroy();
  };
  const ready = await saysReady(
    holder,
    holder.stdout,
    (part) => {
      said += part;
      return /^ready.*\n/.test(said);
    },
    PATIENCE,
    signal,
  );
  if (!ready || holder.pid === undefined) {
    await stop();
    signal.throwIfAborted();
    throw new CompareError('level', told.trim().split('\n').at(-1) || 'unshare(1) failed');
  }
  return { pid: holder.pid, said: said.replace(/^ready/, '').trim(), [Symbol.asyncDispose]: stop };
}
