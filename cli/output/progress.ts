// How far a long step is, on one line of the terminal.
import type { Progress } from '../../images/index.js';
import { formatBytes } from './table.js';

/** Milliseconds between two drawings of the line. */
const INTERVAL = 100;
/** Milliseconds between two lines where they stay: in a log of some minutes' work. */
const LOG_INTERVAL = 15_000;

/** Disposing of it wipes the line away. */
export interface ProgressLine extends Disposable {
  draw(text: string): void;
}

/**
 * A line on stderr. Where that is no terminal: a line now and then if the work is `long`, else nothing. Nothing either
 * when the user wants quiet.
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

/** What the line says of an image that is being made. */
export function describeProgress({ phase, layer, done, total }: Progress): string {
  if (phase === 'disk') return 'writing the disk';
  const name = layer.replace(/^sha256:/, '').slice(0, 12);
  return `layer ${name} ${formatBytes(done)}${total === undefined ? '' : `/${formatBytes(total)}`}`.replace(/ +/g, ' ');
}
