import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { STORE } from '../../../images/store/layout.js';

/** The contents of a store, and leftovers of processes. Empty after a failure. */
export function stored(home: string): string[] {
  return ['layers', 'images', 'names', 'tmp'].flatMap((folder) => {
    const path = join(home, STORE, folder);
    return existsSync(path) ? readdirSync(path) : [];
  });
}
