// Formats tables, sizes and times as Docker does.
import { printableLine } from '../../printable/index.js';

/**
 * Formats rows below a heading. Columns are aligned, with three spaces between them. Cells are made
 * harmless for a terminal.
 */
export function formatTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heading, ...rows.map((row) => row.map(printableLine))];
  const widths = heading.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('   ')
          .trimEnd()}\n`,
    )
    .join('');
}

/** The first 12 digits of an image ID. */
export function shortId(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}

/** Bytes in decimal units with three digits: `117MB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(3))}${units[unit]}`;
}

const SCALES: readonly (readonly [unit: string, seconds: number])[] = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['week', 604_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];

/** The age of a time: `3 hours ago`. `N/A` for an invalid time. */
export function formatAge(time: string, now = Date.now()): string {
  const seconds = (now - Date.parse(time)) / 1000;
  if (Number.isNaN(seconds)) return 'N/A';
  return seconds < 1 ? 'now' : `${formatSeconds(seconds)} ago`;
}

/** The duration since a time: `3 hours`. */
export function formatDuration(time: string, now = Date.now()): string {
  const seconds = (now - Date.parse(time)) / 1000;
  return seconds < 1 ? 'less than a second' : formatSeconds(seconds);
}

/** The number of whole units, in the largest unit that fits. */
function formatSeconds(seconds: number): string {
  const [unit, length] = SCALES.find((scale) => seconds >= scale[1])!;
  const count = Math.floor(seconds / length);
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}
