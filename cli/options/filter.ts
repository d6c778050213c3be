// --filter KEY=VALUE of lists, by Docker's rules: an object must match each key by any of its
// values, but all labels.
import { UsageError } from '../output/errors.js';

export type Filters = ReadonlyMap<string, readonly string[]>;

/**
 * Parses all --filter options of a command.
 * @throws UsageError
 */
export function parseFilters(texts: readonly string[], known: readonly string[]): Filters {
  const filters = new Map<string, string[]>();
  for (const text of texts) {
    const equals = text.indexOf('=');
    if (equals < 1)
      throw new UsageError(`invalid argument '${text}' for --filter: bad format of filter (expected name=value)`);
    const key = text.slice(0, equals).trim().toLowerCase();
    if (!known.includes(key)) {
      throw new UsageError(`invalid argument '${text}' for --filter: expected one of ${known.join(', ')}`);
    }
    filters.set(key, [...(filters.get(key) ?? []), text.slice(equals + 1).trim()]);
  }
  return filters;
}

/**
 * The value of a boolean filter; undefined if it was not given.
 * @throws UsageError
 */
export function booleanFilter(filters: Filters, key: string): boolean | undefined {
  const value = filters.get(key)?.at(-1);
  if (value === undefined) return undefined;
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw new UsageError(`invalid argument '${key}=${value}' for --filter: expected true or false`);
}

/** Returns true if the labels match all filters `label=NAME` and `label=NAME=VALUE`. */
export function hasLabels(labels: Record<string, string>, wanted: readonly string[] = []): boolean {
  return wanted.every((text) => {
    const equals = text.indexOf('=');
    if (equals < 0) return Object.hasOwn(labels, text);
    const name = text.slice(0, equals);
    return Object.hasOwn(labels, name) && labels[name] === text.slice(equals + 1);
  });
}

/** Matches a whole name against a pattern of Go's path.Match: `*` and `?` do not match `/`. */
export function matchesPattern(pattern: string, name: string): boolean {
  const expression = pattern.replace(/\[[^\]]*\]|[*?]|[.+^${}()|[\]\\]/g, (part) => {
    if (part === '*') return '[^/]*';
    if (part === '?') return '[^/]';
    return part.length > 2 ? part.replaceAll('\\', '\\\\') : `\\${part}`;
  });
  try {
    return new RegExp(`^${expression}$`).test(name);
  } catch {
    throw new UsageError(`invalid argument '${pattern}' for --filter: syntax error in pattern`);
  }
}
