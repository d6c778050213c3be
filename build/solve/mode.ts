// The mode that `--chmod` gives: octal digits, or symbols as those of chmod(1).
import { BuildError } from '../build-error.js';

export interface Mode {
  /** The mode of a file that has `mode`. */
  of(mode: number, isDirectory: boolean): number;
}

const CLAUSE = /^([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)$/;

/** @throws BuildError `bad-dockerfile` */
export function parseMode(text: string): Mode {
  if (/^[0-7]{1,5}$/.test(text) && Number.parseInt(text, 8) <= 0o7777) {
    const mode = Number.parseInt(text, 8);
    return { of: () => mode };
  }
  const changes = text.split(',').flatMap(clause);
  return { of: (mode, isDirectory) => changes.reduce((now, change) => change(now, isDirectory), mode) };
}

type Change = (mode: number, isDirectory: boolean) => number;

/** Bits that `u`, `g` and `o` may change. */
const WHO: Record<string, number> = { u: 0o4700, g: 0o2070, o: 0o1007, a: 0o7777 };

function clause(text: string): Change[] {
  const [, who = '', actions = ''] = CLAUSE.exec(text) ?? [];
  if (actions === '') throw new BuildError('bad-dockerfile', `invalid chmod parameter: '${text}'`);
  const mask = (who === '' ? 'a' : who).split('').reduce((bits, character) => bits | WHO[character]!, 0);
  return [...actions.matchAll(/([-+=])([rwxXst]*|[ugo])(?=[-+=]|$)/g)].map(([, sign, permissions = '']) => {
    return (mode, isDirectory) => {
      const bits = bitsOf(permissions, mode, isDirectory) & mask;
      if (sign === '+') return mode | bits;
      if (sign === '-') return mode & ~bits;
      return (mode & ~(mask & 0o777)) | bits;
    };
  });
}

function bitsOf(permissions: string, mode: number, isDirectory: boolean): number {
  const copied = { u: (mode >> 6) & 7, g: (mode >> 3) & 7, o: mode & 7 }[permissions];
  if (copied !== undefined) return copied * 0o111;
  let bits = 0;
  for (const character of permissions) {
    if (character === 'r') bits |= 0o444;
    else if (character === 'w') bits |= 0o222;
    else if (character === 'x' || (character === 'X' && (isDirectory || (mode & 0o111) !== 0))) bits |= 0o111;
    else if (character === 's') bits |= 0o6000;
    else if (character === 't') bits |= 0o1000;
  }
  return bits;
}
