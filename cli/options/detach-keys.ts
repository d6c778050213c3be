// --detach-keys, in Docker's form: `ctrl-p,ctrl-q`.
import type { DetachKeys } from '../foreground/detach-keys.js';
import { UsageError } from '../output/errors.js';
import type { Declaration } from './declaration.js';

export const DEFAULT_DETACH_KEYS: DetachKeys = [0x10, 0x11];

/**
 * Parses keys separated by commas. Each is a letter, or `ctrl-` and one of `a` to `z`, `@`, `[`,
 * `\`, `]`, `^`, `_`.
 * @throws UsageError
 */
export function parseDetachKeys(text: string, flag: string): DetachKeys {
  return text.split(',').map((key) => {
    const [, control] = /^ctrl-([a-z@[\\\]^_])$/i.exec(key) ?? [];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
    if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected keys such as ctrl-p,ctrl-q or ctrl-x,x`);
  });
}

/** The option of the commands that attach the caller to a container. */
export const DETACH_KEYS_OPTION: Declaration<{ detachKeys?: DetachKeys }> = {
  flags: '--detach-keys <KEYS>',
  help: 'keys that detach from the container (default: ctrl-p,ctrl-q)',
  field: 'detachKeys',
  values: ['ctrl-p,ctrl-q'],
  parse: parseDetachKeys,
};
