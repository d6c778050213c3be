// How much of a jail a machine process is to be in.
import { JAIL_VARIABLE, wantsNoJail } from '../jail/launcher.js';
import { SandboxError } from './errors.js';

/**
 * - `auto`: as much of a jail as the host allows. The default.
 * - `require`: a jail of namespaces, or no machine.
 * - `off`: no jail, to debug.
 */
export type JailMode = 'auto' | 'require' | 'off';
export const JAIL_MODES: readonly JailMode[] = ['auto', 'require', 'off'];

/** The mode that the environment asks for. @throws SandboxError `bad-spec` */
export function defaultJailMode(): JailMode {
  const word = process.env[JAIL_VARIABLE] ?? '';
  if (word === '') return 'auto';
  return parseJailMode(word, JAIL_VARIABLE);
}

/**
 * The mode with which a machine process starts before its spec is known. Words that the environment
 * has wrong are refused once the spec is.
 */
export function earlyJailMode(): JailMode {
  return wantsNoJail() ? 'off' : 'auto';
}

/** @param what where the word stands, for the message. @throws SandboxError `bad-spec` */
export function parseJailMode(word: string, what: string): JailMode {
  const mode = JAIL_MODES.find((each) => each === word);
  if (mode === undefined) {
    throw new SandboxError('bad-spec', `${what} is ${JSON.stringify(word)}: use ${JAIL_MODES.join(', ')}`);
  }
  return mode;
}
