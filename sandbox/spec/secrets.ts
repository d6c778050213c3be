// What a container gets at its start and no record has.
import { SandboxError } from '../errors.js';
import { checkEnvironment } from './process-spec.js';

/** Texts without NUL, 128 KiB of a variable and 1 MiB of a file at most. */
export interface Secrets {
  /** Variables of each of its processes. They win over other variables of the same names. */
  env?: Readonly<Record<string, string>>;
  /** Files of /run/secrets by their names, in the machine's memory: each user may read them. */
  files?: Readonly<Record<string, string>>;
}

/** @throws SandboxError `bad-spec`, which never quotes a value */
export function checkSecrets({ env = {}, files = {} }: Secrets): void {
  checkEnvironment(env);
  for (const name of Object.keys(files)) {
    if (!/^[^/\0]{1,255}$/.test(name) || name === '.' || name === '..') {
      throw new SandboxError('bad-spec', `invalid name of a file in /run/secrets: ${JSON.stringify(name)}`);
    }
  }
  for (const [name, value] of [...Object.entries(env), ...Object.entries(files)]) {
    if (value.includes('\0')) throw new SandboxError('bad-spec', `the secret ${name} has a NUL character`);
  }
}
