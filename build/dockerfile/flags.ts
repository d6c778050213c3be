// The flags of an instruction: `--name=value` words before its arguments.
import { BuildError } from '../build-error.js';
import type { Line } from './lines.js';
import { type Escape, removeQuotes, wordsAt } from './words.js';

/** `each`: may be repeated. */
export type FlagKinds = Readonly<Record<string, 'one' | 'each' | 'boolean'>>;

export interface Flags {
  has(name: string): boolean;
  one(name: string): string | undefined;
  each(name: string): string[];
  is(name: string): boolean;
}

/**
 * Takes the flags off an instruction.
 * @returns the flags, and what follows them
 * @throws BuildError `bad-dockerfile`
 */
export function takeFlags(
  { keyword, text, place }: Line,
  escapeToken: Escape,
  kinds: FlagKinds,
): { flags: Flags; rest: string } {
  const values = new Map<string, string[]>();
  let rest = text;
  // Only instructions without flags may have arguments that begin with `--`.
  for (;;) {
    const [first] = wordsAt(rest, escapeToken);
    if (first === undefined || !first.word.startsWith('--')) break;
    const after = rest.slice(first.at + first.word.length).trimStart();
    if (first.word === '--') {
      rest = after;
      break;
    }
    const word = removeQuotes(first.word.slice(2), escapeToken);
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    const fail = (message: string) => new BuildError('bad-dockerfile', message, { place });
    if (kind === undefined) throw fail(`unknown flag of ${keyword}: --${name}`);
    if (equals < 0 && kind !== 'boolean') throw fail(`missing a value on flag: --${name}`);
    const value = equals < 0 ? 'true' : word.slice(equals + 1);
    if (kind === 'boolean' && !/^(true|false)$/i.test(value)) {
      throw fail(`expecting boolean value for flag --${name}, not: ${value}`);
    }
    const before = values.get(name);
    if (before !== undefined && kind !== 'each') throw fail(`duplicate flag specified: --${name}`);
    values.set(name, [...(before ?? []), value]);
    rest = after;
  }
  const each = (name: string) => values.get(name) ?? [];
  return {
    flags: {
      has: (name) => values.has(name),
      one: (name) => each(name)[0],
      each,
      is: (name) => each(name)[0]?.toLowerCase() === 'true',
    },
    rest,
  };
}
