// A mount namespace that stays: its mounts are made once, so that a start measures no mount(8).
import { findProgram } from '../../programs/index.js';
import { holdNamespace } from '../namespace.js';

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
 * @throws CompareError `level`; the reason of `signal`
 */
export async function holdMounts(
  signal: AbortSignal,
  script: string,
  ...words: readonly string[]
): Promise<HeldMounts> {
  const user = isRoot() ? [] : ['--map-root-user'];
  const held = await holdNamespace(signal, [...user, '--mount', '--propagation', 'private'], script, ...words);
  return {
    enter(...given) {
      const entered = isRoot() ? [] : ['--user', '--preserve-credentials'];
      const nsenter = findProgram('nsenter') ?? 'nsenter';
      return [nsenter, '--target', String(held.pid), ...entered, '--mount', ...given];
    },
    [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
  };
}
