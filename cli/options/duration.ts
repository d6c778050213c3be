// Durations in the forms of timeout(1) and of Go's time.ParseDuration.
import { UsageError } from '../output/errors.js';

const MILLISECONDS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * The milliseconds of `90`, `1.5s`, `500ms`, `2m` or `1h30m`. A plain number is seconds.
 *
 * @param flag the option's name, for errors
 * @throws UsageError
 */
export function parseDuration(text: string, flag: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return bounded(Number(text) * 1000, text, flag);
  if (!/^(\d+(\.\d+)?(ms|[smhd]))+$/.test(text)) {
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected a duration such as 30s, 5m or 1h30m`);
  }
  let sum = 0;
  for (const [, number, unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)) {
    sum += Number(number) * (MILLISECONDS[unit] ?? Number.NaN);
  }
  return bounded(sum, text, flag);
}

function bounded(milliseconds: number, text: string, flag: string): number {
  const rounded = Math.ceil(milliseconds);
  if (!Number.isSafeInteger(rounded)) throw new UsageError(`invalid argument '${text}' for ${flag}: too long`);
  return rounded;
}

/**
 * The milliseconds since the epoch of a time (RFC 3339, or seconds since the epoch), or of a
 * duration ago (`10m`).
 *
 * @param flag the option's name, for errors
 * @throws UsageError
 */
export function parseTime(text: string, flag: string): number {
  if (/^\d{9,}(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (/^\d{4}-\d\d-\d\d/.test(text)) {
    const time = Date.parse(text);
    if (!Number.isNaN(time)) return time;
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected a time such as 2026-01-31T08:00:00Z`);
  }
  return Date.now() - parseDuration(text, flag);
}
