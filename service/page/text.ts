// Numbers, times and the output of jobs as text.
import { escapedText } from '../../printable/index.js';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `512 MiB` */
export function bytes(count: number): string {
  let [scaled, unit] = [count, 0];
  while (scaled >= 1024 && unit < UNITS.length - 1) {
    scaled /= 1024;
    unit++;
  }
  return `${Number(scaled.toPrecision(3))} ${UNITS[unit]}`;
}

/** `4 min 5 s`, of milliseconds. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
  if (minutes === 0) return `${Math.floor(seconds)} s`;
  return hours === 0 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${hours} h ${minutes % 60} min`;
}

/** `2026-01-01 10:00:00`, in the reader's time zone. */
export function time(text: string): string {
  const at = new Date(text);
  const two = (part: number) => String(part).padStart(2, '0');
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join('-');
  return `${day} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':')}`;
}

/** `3.2`, `18k` */
export function amount(value: number): string {
  return value >= 1000 ? `${Number((value / 1000).toPrecision(2))}k` : String(Number(value.toPrecision(2)));
}

/** A command as a line. Words with spaces have quotes. */
export function commandLine(words: readonly string[]): string {
  return escapedText(words.map((word) => (/^[^\s'"\\]+$/.test(word) ? word : JSON.stringify(word))).join(' '));
}

/** Sequences of a terminal: colours, titles, moves of the cursor. */
const SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])/g;

/** Output without the sequences of a terminal. What else is harmful is an escape. */
export function outputText(log: string): string {
  return escapedText(
    log
      .replace(SEQUENCE, '')
      .replace(/\r+(?=\n|$)/g, '')
      .replaceAll('\r', '\n'),
  );
}
