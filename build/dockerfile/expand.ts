// Expands the variables of a word, as a shell does (Dockerfile reference, "Environment
// replacement"): `$name`, `${name}` and the modifiers `:-` `:+` `:?` `-` `+` `?` `#` `##` `%` `%%`
// `/` `//`. Quotes and escapes are removed.
import { MAX_EXPANDED, MAX_NESTING } from '../limits.js';
import type { Escape } from './words.js';

/** Value of a variable. Undefined if it is not set. */
export type Lookup = (name: string) => string | undefined;

/** A word that cannot be expanded. The message says why. */
export class ExpansionError extends Error {
  override readonly name = 'ExpansionError';
}

/**
 * Expands a word to one word, whatever spaces its variables hold.
 * @throws ExpansionError
 */
export function expandWord(word: string, lookup: Lookup, escapeToken: Escape): string {
  return new Expansion(word, lookup, escapeToken).whole().join(' ');
}

/**
 * Expands a text to words. Spaces outside of quotes, also those that come from variables, split it.
 * @throws ExpansionError
 */
export function expandWords(text: string, lookup: Lookup, escapeToken: Escape): string[] {
  return new Expansion(text, lookup, escapeToken, true).whole();
}

/**
 * Expands the contents of a heredoc, where quotes mean nothing.
 * @throws ExpansionError
 */
export function expandText(text: string, lookup: Lookup, escapeToken: Escape): string {
  return new Expansion(text, lookup, escapeToken, false, true).whole().join('');
}

const NAME = /[A-Za-z0-9_]/;
const SPECIAL = '@*#?-$!0';

class Expansion {
  readonly #text: string;
  readonly #lookup: Lookup;
  readonly #escapeToken: Escape;
  readonly #splits: boolean;
  readonly #isText: boolean;
  #at = 0;
  #depth = 0;
  #length = 0;

  constructor(text: string, lookup: Lookup, escapeToken: Escape, splits = false, isText = false) {
    this.#text = text;
    this.#lookup = lookup;
    this.#escapeToken = escapeToken;
    this.#splits = splits;
    this.#isText = isText;
  }

  whole(): string[] {
    const words: string[] = [];
    let word = '';
    let isThere = !this.#splits;
    const end = () => {
      if (isThere) words.push(word);
      word = '';
      isThere = false;
    };
    while (this.#at < this.#text.length) {
      const character = this.#peek();
      if (this.#splits && /\s/.test(character)) {
        this.#at++;
        end();
      } else if (this.#splits && character === '$') {
        const [first = '', ...others] = this.#variable().split(/\s+/);
        word += first;
        isThere ||= first !== '';
        for (const other of others) {
          end();
          word = other;
          isThere = other !== '';
        }
      } else {
        word += this.#count(this.#piece());
        isThere = true;
      }
    }
    end();
    return words;
  }

  #peek(): string {
    return this.#text.charAt(this.#at);
  }

  #count(piece: string): string {
    this.#length += piece.length;
    if (this.#length > MAX_EXPANDED) throw new ExpansionError(`expands to more than ${MAX_EXPANDED} characters`);
    return piece;
  }

  /** The next character, quoted part or variable. `isRaw` keeps escapes, for a pattern. */
  #piece(isRaw = false): string {
    const character = this.#peek();
    if (character === '$') return this.#variable();
    if (character === "'" && !this.#isText) return this.#singleQuoted();
    if (character === '"' && !this.#isText) return this.#doubleQuoted();
    this.#at++;
    if (character !== this.#escapeToken) return character;
    const next = this.#peek();
    if (this.#isText && next !== '$' && next !== this.#escapeToken) return character;
    this.#at++;
    return isRaw ? `\\${next}` : next;
  }

  #singleQuoted(): string {
    const end = this.#text.indexOf("'", this.#at + 1);
    if (end < 0) throw new ExpansionError('unexpected end of statement while looking for matching single-quote');
    const quoted = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return quoted;
  }

  #doubleQuoted(): string {
    this.#at++;
    let quoted = '';
    for (;;) {
      const character = this.#peek();
      if (character === '') {
        throw new ExpansionError('unexpected end of statement while looking for matching double-quote');
      }
      if (character === '$') {
        quoted += this.#count(this.#variable());
        continue;
      }
      this.#at++;
      if (character === '"') return quoted;
      const next = this.#peek();
      if (character === this.#escapeToken && (next === '"' || next === '$' || next === this.#escapeToken)) {
        quoted += next;
        this.#at++;
      } else {
        quoted += character;
      }
    }
  }

  #variable(): string {
    this.#at++;
    if (this.#peek() !== '{') {
      const name = this.#name();
      return name === '' ? '$' : this.#count(this.#lookup(name) ?? '');
    }
    this.#at++;
    if (++this.#depth > MAX_NESTING) throw new ExpansionError(`variables nest deeper than ${MAX_NESTING}`);
    const value = this.#braced();
    this.#depth--;
    return this.#count(value);
  }

  #name(): string {
    const first = this.#peek();
    if (first !== '' && SPECIAL.includes(first)) {
      this.#at++;
      return first;
    }
    const start = this.#at;
    const pattern = /[0-9]/.test(first) ? /[0-9]/ : NAME;
    while (pattern.test(this.#peek())) this.#at++;
    return this.#text.slice(start, this.#at);
  }

  #braced(): string {
    const first = this.#peek();
    if (first === '') throw new ExpansionError("syntax error: missing '}'");
    if ('{}:'.includes(first)) throw new ExpansionError('syntax error: bad substitution');
    const name = this.#name();
    const value = this.#lookup(name);
    let modifier = this.#peek();
    this.#at++;
    if (modifier === '}') return value ?? '';
    if (modifier === '') throw new ExpansionError("syntax error: missing '}'");
    if (modifier === '/') return this.#replaced(value ?? '');
    const isEmptyUnset = modifier === ':';
    if (isEmptyUnset) modifier = this.#text.charAt(this.#at++);
    const isSet = value !== undefined && !(isEmptyUnset && value === '');
    switch (modifier) {
      case '-': {
        const other = this.#until('}');
        return isSet ? value : other;
      }
      case '+': {
        const other = this.#until('}');
        return isSet ? other : '';
      }
      case '?': {
        const message = this.#until('}');
        if (isSet) return value;
        const why = value === undefined ? 'not allowed to be unset' : 'not allowed to be empty';
        throw new ExpansionError(`${name}: ${message === '' ? why : message}`);
      }
      case '#':
      case '%': {
        if (isEmptyUnset) break;
        const isGreedy = this.#peek() === modifier;
        if (isGreedy) this.#at++;
        return trimmed(value ?? '', shellPattern(this.#until('}', true)), modifier, isGreedy);
      }
    }
    throw new ExpansionError(`unsupported modifier (${isEmptyUnset ? ':' : ''}${modifier}) in substitution`);
  }

  #replaced(value: string): string {
    const isEach = this.#peek() === '/';
    if (isEach) this.#at++;
    const pattern = shellPattern(this.#until('/', true));
    const replacement = this.#until('}');
    if (pattern.length === 0) return value;
    return replaceMatches(value, pattern, replacement, isEach);
  }

  #until(end: string, isRaw = false): string {
    let found = '';
    while (this.#at < this.#text.length) {
      if (this.#peek() === end) {
        this.#at++;
        return found;
      }
      found += this.#count(this.#piece(isRaw));
    }
    throw new ExpansionError(`unexpected end of statement while looking for matching ${end}`);
  }
}

/** A token of a shell pattern: a character, any character (`?`), or any text (`*`). */
type Token = { is: 'character'; character: string } | { is: 'any' } | { is: 'all' };

function shellPattern(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === '*') {
      if (tokens.at(-1)?.is !== 'all') tokens.push({ is: 'all' });
    } else if (character === '?') tokens.push({ is: 'any' });
    else if (character === '\\') tokens.push({ is: 'character', character: text.charAt(++at) || '\\' });
    else tokens.push({ is: 'character', character });
  }
  return tokens;
}

/**
 * All ends of matches of a pattern that begin at `start`, in ascending order. Takes time in the
 * product of both lengths: no pattern makes it backtrack.
 */
function matchEnds(value: string, start: number, tokens: readonly Token[]): number[] {
  let ends = [start];
  for (const token of tokens) {
    const next: number[] = [];
    if (token.is === 'all') {
      for (let at = ends[0] ?? value.length + 1; at <= value.length; at++) next.push(at);
    } else {
      for (const at of ends) {
        if (at < value.length && (token.is === 'any' || value.charAt(at) === token.character)) next.push(at + 1);
      }
    }
    ends = next;
    if (ends.length === 0) break;
  }
  return ends;
}

function trimmed(value: string, tokens: readonly Token[], side: '#' | '%', isGreedy: boolean): string {
  if (side === '#') {
    const ends = matchEnds(value, 0, tokens);
    const end = isGreedy ? ends.at(-1) : ends[0];
    return end === undefined ? value : value.slice(end);
  }
  const reversed = [...tokens].reverse();
  const back = value.split('').reverse().join('');
  const ends = matchEnds(back, 0, reversed);
  const end = isGreedy ? ends.at(-1) : ends[0];
  return end === undefined ? value : value.slice(0, value.length - end);
}

/** The longest match at each place is replaced. */
function replaceMatches(value: string, tokens: readonly Token[], replacement: string, isEach: boolean): string {
  let result = '';
  let at = 0;
  while (at < value.length) {
    const end = matchEnds(value, at, tokens).at(-1);
    if (end === undefined || end === at) {
      result += value.charAt(at++);
      continue;
    }
    result += replacement;
    if (result.length > MAX_EXPANDED) throw new ExpansionError(`expands to more than ${MAX_EXPANDED} characters`);
    at = end;
    if (!isEach) break;
  }
  return result + value.slice(at);
}
