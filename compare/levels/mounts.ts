// A mount namespace that stays: its mounts are made once, so that a start measures no mount(8).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { findProgram } from '../../programs/index.js';
import { CompareError } from '../errors.js';

export const isRoot = (): boolean => process.geteuid?.() === 0;

/** For programs that keep what they know of containers in /run: it goes with the namespace. */
export const PRIVATE_RUN = 'mount -t tmpfs -o mode=755 tmpfs /run';

/** Disposal ends the process that holds the namespace. */
export interface HeldMounts extends AsyncDisposable {
  /** Words that enter the mounts, and the user namespace of who is not root. A command follows. */
  enter(...options: readonly string[]): readonly [program: string, ...words: string[]];
}

/**
 * @param script of sh, which makes the mounts
 * @throws CompareError `level`
 */
export async function holdMounts(script: string, ...words: readonly string[]): Promise<HeldMounts> {
  const user = isRoot() ? [] : ['--map-root-user'];
  // The shell ends with its input, which is with its owner.
  const held = `set -e\n${script}\necho ready\nread end || :`;
  const options = [...user, '--mount', '--propagation', 'private', 'sh', '-c', held, 'sh', ...words];
  const holder = spawn('unshare', options, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let told = '';
  holder.stderr?.on('data', (chunk: Buffer) => {
    told += chunk;
  });
  const ready = await new Promise<boolean>((resolve) => {
    holder.stdout?.once('data', () => resolve(true));
    holder.once('error', () => resolve(false));
    holder.once('close', () => resolve(false));
  });
  if (!ready) throw new CompareError('level', told.trim().split('\n').at(-1) || 'unshare(1) failed');
  return {
    enter(...given) {
      const entered = isRoot() ? [] : ['--user', '--preserve-credentials'];
      const nsenter = findProgram('nsenter') ?? 'nsenter';
      return [nsenter, '--target', String(holder.pid), ...entered, '--mount', ...given];
    },
    async [Symbol.asyncDispose]() {
      if (holder.exitCode !== null || holder.signalCode !== null) return;
      const closed = once(holder, 'close');
      holder.kill('SIGKILL');
      await closed;
    },
  };
}
