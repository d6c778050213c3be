// The rules of `.dockerignore` (docker build, "dockerignore files"): what of a context a build does
// not see. The last pattern that matches a path, or a directory above it, decides.
import { posix } from 'node:path';
import { BuildError } from '../build-error.js';
import { MAX_IGNORE_BYTES } from '../limits.js';
import { Pattern, PatternError } from './pattern.js';

interface Rule {
  pattern: Pattern;
  /** `!`: what matches is seen after all. */
  isException: boolean;
}

/** Which rules have matched a directory: they match what is below it too. */
export type RuleState = readonly boolean[];

export class IgnoreRules {
  readonly #rules: readonly Rule[];

  constructor(rules: readonly Rule[] = []) {
    this.#rules = rules;
  }

  /** Of the context itself, which no rule ignores. */
  get root(): RuleState {
    return this.#rules.map(() => false);
  }

  /** True if something below an ignored directory may be seen. */
  get hasExceptions(): boolean {
    return this.#rules.some(({ isException }) => isException);
  }

  /** Characters of all patterns. */
  get size(): number {
    return this.#rules.reduce((sum, { pattern }) => sum + pattern.text.length, 0);
  }

  /** True if a pattern matches every name. */
  get matchesAll(): boolean {
    return this.#rules.some(({ pattern, isException }) => !isException && ['*', '**', '**/*'].includes(pattern.text));
  }

  /** True if a path or a directory above it is ignored. @param path as `check` has it */
  ignores(path: string): boolean {
    let state = this.root;
    for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1)) {
      state = this.check(path.slice(0, end), state).state;
    }
    return this.check(path, state).isIgnored;
  }

  /**
   * @param path from the context's root, without a slash at either end; one byte a character
   * @param above the state of its directory
   */
  check(path: string, above: RuleState): { isIgnored: boolean; state: RuleState } {
    let isIgnored = false;
    const state = this.#rules.map(({ pattern, isException }, index) => {
      const matches = above[index] === true || pattern.matches(path);
      if (matches) isIgnored = !isException;
      return matches;
    });
    return { isIgnored, state };
  }
}

/**
 * @param file the bytes of a `.dockerignore`
 * @param name of the file, for messages
 * @throws BuildError `bad-context`, `too-large`
 */
export function parseIgnore(file: Buffer, name: string): IgnoreRules {
  if (file.length > MAX_IGNORE_BYTES) throw new BuildError('too-large', `${name} exceeds ${MAX_IGNORE_BYTES} bytes`);
  const rules: Rule[] = [];
  for (const line of file
    .toString('latin1')
    .replace(/^\xef\xbb\xbf/, '')
    .split('\n')) {
    if (line.startsWith('#')) continue;
    const text = line.trim();
    if (text === '') continue;
    rules.push(ruleOf(text, name));
  }
  return new IgnoreRules(rules);
}

/**
 * The rules of patterns that are not in a file, such as those of `COPY --exclude`.
 * @throws BuildError `bad-context`
 */
export function rulesOf(patterns: readonly string[], name: string): IgnoreRules {
  return new IgnoreRules(patterns.map((pattern) => ruleOf(Buffer.from(pattern).toString('latin1'), name)));
}

function ruleOf(text: string, name: string): Rule {
  const isException = text.startsWith('!');
  const rest = isException ? text.slice(1).trim() : text;
  if (rest === '') throw new BuildError('bad-context', `illegal exclusion pattern in ${name}: "!"`);
  // As Go's filepath.Clean. A path of `.` is the context itself, which cannot be ignored.
  const clean = posix
    .normalize(rest)
    .replace(/(?<=.)\/+$/, '')
    .replace(/^\/+(?=.)/, '');
  try {
    return { pattern: new Pattern(clean), isException };
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw new BuildError('bad-context', `${name}: ${error.message}`, { cause: error });
  }
}
