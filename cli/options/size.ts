// Sizes in Docker's form (docker/go-units, RAMInBytes): a number and a binary unit.
import { UsageError } from '../output/errors.js';

const UNITS = 'kmgtp';

/**
 * The bytes of `512m`, `1.5g`, `64MiB` or `1048576`.
 *
 * @param flag the option's name, for errors
 * @throws UsageError
 */
export function parseSize(text: string, flag: string): number {
  const match = /^(\d+(?:\.\d+)?) ?(?:([kmgtp])i?)?b?$/i.exec(text);
  if (match === null)
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected a size such as 512m or 2g`);
  const exponent = match[2] === undefined ? 0 : UNITS.indexOf(match[2].toLowerCase()) + 1;
  const bytes = Math.floor(Number(match[1]) * 1024 ** exponent);
  if (!Number.isSafeInteger(bytes)) throw new UsageError(`invalid argument '${text}' for ${flag}: too large`);
  return bytes;
}
