// What `.dockerignore` hides from COPY and ADD, asked no more than a check can afford.
import type { IgnoreRules } from '../context/ignore.js';
import { MAX_IGNORE_WORK } from '../limits.js';

/** True for a path that is ignored. Once the limit is reached, nothing more is said to be. */
export type IsIgnored = (path: string) => boolean;

type Rules = Pick<IgnoreRules, 'hasExceptions' | 'matchesAll' | 'size' | 'ignores'>;

export function ignoredPaths(rules: Rules | undefined): IsIgnored {
  // A pattern with `!` may bring back what is below an ignored directory.
  if (rules === undefined || rules.hasExceptions) return () => false;
  const { matchesAll, size } = rules;
  let left = MAX_IGNORE_WORK;
  return (path) => {
    if (path === '' || path === '.') return matchesAll;
    // The path and each directory above it meet each pattern.
    left -= size * path.length * path.split('/').length;
    return left >= 0 && rules.ignores(path);
  };
}
