// Parsers of numbers.
import { UsageError } from '../output/errors.js';

/** A whole number, which may be negative. @throws UsageError */
export function parseInteger(text: string, flag: string): number {
  if (!/^-?\d{1,15}$/.test(text))
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected a whole number`);
  return Number(text);
}

/** A whole number of at least 0. @throws UsageError */
export function parseCount(text: string, flag: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`invalid argument '${text}' for ${flag}: expected a whole number`);
  return Number(text);
}

/** A whole number of seconds, in milliseconds. @throws UsageError */
export function parseSeconds(text: string, flag: string): number {
  return parseCount(text, flag) * 1000;
}

/** A number of CPUs. @throws UsageError */
export function parseCpus(text: string, flag: string): number {
  if (!/^-?\d+(\.\d+)?$/.test(text))
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected a number such as 1.5`);
  return Number(text);
}
