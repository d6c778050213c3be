// --format with a template: the part of Go's text/template that people write for `docker inspect`.
import { UsageError } from './failure.js';

const ACTION = /\{\{-?\s*(.*?)\s*-?\}\}/gs;
const PATH = /^(json\s+)?((?:\.[A-Za-z_][A-Za-z0-9_]*)+|\.)$/;
const INDEX = /^(json\s+\()?index\s+((?:\.[A-Za-z_][A-Za-z0-9_]*)+|\.)\s+(?:"([^"]*)"|(\d+))\)?$/;

/**
 * Fills in `{{.Field.Field}}`, `{{json .Field}}` and `{{index .Field "key"}}`.
 * @throws UsageError for an action that is none of these, and for a field that is not there
 */
export function fillTemplate(template: string, value: unknown): string {
  return template.replace(ACTION, (whole, action: string) => {
    const path = PATH.exec(action);
    if (path) return print(follow(value, path[2], whole), path[1] !== undefined);
    const index = INDEX.exec(action);
    if (!index)
      throw new UsageError(`template parsing error: ${whole} is not .Field, json .Field or index .Field "key"`);
    const container = follow(value, index[2], whole) as Record<string, unknown> | null | undefined;
    return print(container?.[index[3] ?? index[4]] ?? '', index[1] !== undefined);
  });
}

function follow(value: unknown, path: string, whole: string): unknown {
  let at = value;
  for (const name of path.split('.').filter((part) => part !== '')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) {
      throw new UsageError(`template: ${whole}: there is no ${name}`);
    }
    at = (at as Record<string, unknown>)[name];
  }
  return at;
}

/** As Go's fmt prints values, but for maps, whose keys it sorts. */
function print(value: unknown, json: boolean): string {
  if (json) return JSON.stringify(value);
  if (value === null || value === undefined) return '<no value>';
  if (Array.isArray(value)) return `[${value.map((item) => print(item, false)).join(' ')}]`;
  if (typeof value !== 'object') return String(value);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${entries.map(([key, item]) => `${key}:${print(item, false)}`).join(' ')}]`;
}
