// The key that encrypts secrets: a file beside the database, for the server's user alone.
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { sync } from './sync.js';

const NAME = 'secrets.key';
const BYTES = 32;

/** For the administrator: it names a path of the host. A tenant is told of an internal error. */
class KeyError extends Error {
  override readonly name = 'ServiceError';
}

/** The key, if there is one. @throws KeyError if others may read it */
export function findKey(folder: string): Buffer | undefined {
  const path = join(folder, NAME);
  try {
    if ((statSync(path).mode & 0o077) !== 0) throw new KeyError(`${path} needs the mode 0600`);
    const key = readFileSync(path);
    if (key.length !== BYTES) throw new KeyError(`${path} is no key: it has ${key.length} bytes`);
    return key;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** The key, which is made if there is none. It is on the disk before anything is encrypted by it. */
export function makeKey(folder: string): Buffer {
  const known = findKey(folder);
  if (known !== undefined) return known;
  const made = join(folder, `${NAME}.${randomBytes(8).toString('hex')}`);
  try {
    writeFileSync(made, randomBytes(BYTES), { mode: 0o600, flag: 'wx', flush: true });
    linkSync(made, join(folder, NAME));
  } catch (error) {
    // Another process was first.
    if (!hasCode(error, 'EEXIST')) throw error;
  } finally {
    rmSync(made, { force: true });
  }
  sync(folder);
  return makeKey(folder);
}
