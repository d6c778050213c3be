// Shows the progress of a long step on one line of the terminal.
import type { Progress } from '../../images/index.js';
import { formatBytes } from './table.js';

/** Milliseconds between two updates of the line. */
const INTERVAL = 100;
/** Milliseconds between two lines of a log, where lines cannot be replaced. */
const LOG_INTERVAL = 15_000;

/** Clears the line when disposed. */
export interface ProgressLine extends Disposable {
  draw(text: string): void;
}

/**
 * Opens a line on stderr. With `quiet`, it shows nothing. If stderr is not a terminal, it prints a
 * line every 15 seconds if the work is `long`, else nothing.
 */
export function openProgressLine(quiet: boolean | undefined, { long = false } = {}): ProgressLine {
  let drawn: number | undefined;
  if (!quiet && long && !process.stderr.isTTY) {
    return {
      draw(text) {
        const now = performance.now();
        if (drawn !== undefined && now - drawn < LOG_INTERVAL) return;
        drawn = now;
        process.stderr.write(`${text}\n`);
      },
      [Symbol.dispose]() {},
    };
  }
  if (quiet || !process.stderr.isTTY) return { draw() {}, [Symbol.dispose]() {} };
  return {
    draw(text) {
      const now = performance.now();
      if (drawn !== undefined && now - drawn < INTERVAL) return;
      drawn = now;
      process.stderr.write(`\r\x1b[K${text}`);
    },
    [Symbol.dispose]() {
      if (drawn !== undefined) process.stderr.write('\r\x1b[K');
      drawn = undefined;
    },
  };
}

/** The text of the line while an image is written. */
export function describeProgress({ phase, layer, done, total }: Progress): string {
  if (phase === 'disk') return 'writing the disk';
  const name = layer.replace(/^sha256:/, '').slice(0, 12);
  return `layer ${name} ${formatBytes(done)}${total === undefined ? '' : `/${formatBytes(total)}`}`.replace(/ +/g, ' ');
}
