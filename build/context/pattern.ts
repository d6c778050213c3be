// Patterns of paths: those of Go's filepath.Match (`*`, `?`, `[a-z]`, `\`), and `**` for any number
// of directories, as `.dockerignore` has it. Takes time in the product of both lengths: no pattern
// makes it backtrack. The libraries for `.dockerignore` make regular expressions, which do.

/** One step of a pattern. */
type Token =
  | { is: 'character'; character: string }
  /** `?`: any character but `/`. */
  | { is: 'any' }
  /** `*`: any text without `/`. */
  | { is: 'name' }
  /** `**` at the end: any text. */
  | { is: 'rest' }
  /** `**` or `**\/` before something: nothing, or any text that ends with `/`. */
  | { is: 'directories' }
  | { is: 'class'; isNegated: boolean; ranges: [low: string, high: string][] };

/** A pattern that has no meaning, as Go's `filepath.ErrBadPattern`. */
export class PatternError extends Error {
  override readonly name = 'PatternError';
}

export class Pattern {
  readonly #tokens: Token[];

  /**
   * @param text in the encoding of the paths
   * @throws PatternError
   */
  constructor(readonly text: string) {
    this.#tokens = tokensOf(text);
  }

  matches(path: string): boolean {
    const tokens = this.#tokens;
    let states = closure(new Set([0]), new Set(), tokens);
    for (let at = 0; at < path.length; at++) {
      const character = path.charAt(at);
      const next = new Set<number>();
      const within = new Set<number>();
      for (const state of states.next) {
        const token = tokens[state];
        if (token === undefined) continue;
        if (token.is === 'directories') within.add(state);
        else if (token.is === 'rest' || (token.is === 'name' && character !== '/')) next.add(state);
        else if (takes(token, character)) next.add(state + 1);
      }
      for (const state of states.within) within.add(state);
      // The text of directories may end after each slash.
      if (character === '/') for (const state of within) next.add(state + 1);
      states = closure(next, within, tokens);
      if (next.size + within.size === 0) return false;
    }
    return states.next.has(tokens.length);
  }
}

/** Where a match may be: tokens that may come next, and `directories` whose text has begun. */
interface States {
  next: Set<number>;
  within: Set<number>;
}

/** Adds the tokens that are reached without a character. */
function closure(next: Set<number>, within: Set<number>, tokens: readonly Token[]): States {
  for (const state of next) {
    const token = tokens[state];
    if (token?.is === 'name' || token?.is === 'rest' || token?.is === 'directories') next.add(state + 1);
  }
  return { next, within };
}

function takes(token: Token, character: string): boolean {
  if (token.is === 'character') return token.character === character;
  if (token.is === 'any') return character !== '/';
  if (token.is !== 'class' || character === '/') return false;
  return token.ranges.some(([low, high]) => character >= low && character <= high) !== token.isNegated;
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === '*' && text.charAt(at + 1) === '*') {
      at++;
      if (text.charAt(at + 1) === '/') at++;
      tokens.push({ is: at + 1 === text.length ? 'rest' : 'directories' });
    } else if (character === '*') tokens.push({ is: 'name' });
    else if (character === '?') tokens.push({ is: 'any' });
    else if (character === '[') {
      const { token, end } = classAt(text, at);
      tokens.push(token);
      at = end;
    } else if (character === '\\') {
      if (++at === text.length) throw bad(text);
      tokens.push({ is: 'character', character: text.charAt(at) });
    } else tokens.push({ is: 'character', character });
  }
  return tokens;
}

function classAt(text: string, start: number): { token: Token; end: number } {
  let at = start + 1;
  const isNegated = text.charAt(at) === '^';
  if (isNegated) at++;
  const ranges: [string, string][] = [];
  const one = () => {
    if (text.charAt(at) === '\\') at++;
    const character = text.charAt(at++);
    if (character === '') throw bad(text);
    return character;
  };
  while (text.charAt(at) !== ']' || ranges.length === 0) {
    if (text.charAt(at) === ']' || text.charAt(at) === '-') throw bad(text);
    const low = one();
    let high = low;
    if (text.charAt(at) === '-') {
      at++;
      high = one();
    }
    ranges.push([low, high]);
  }
  return { token: { is: 'class', isNegated, ranges }, end: at };
}

function bad(text: string): PatternError {
  return new PatternError(`syntax error in pattern: ${text}`);
}

/** True if the text has a character that is special in a pattern. */
export function isPattern(text: string): boolean {
  return /[*?[\\]/.test(text);
}
