// Shows the progress of the layers of a pull, in Docker's words. On a terminal: a bar for each
// layer in progress, below the finished ones. Elsewhere: a line when a layer starts and when it is
// done.
import type { Progress } from '../../images/index.js';
import { formatBytes } from './table.js';

/** Milliseconds between two updates. */
const INTERVAL = 100;
/** Digits of a layer's digest to show. */
const SHORT = 12;
const BAR_WIDTH = 50;
/** Columns of a line besides its bar. */
const OTHER_WIDTH = 50;

/** The output: stderr, or a substitute in tests. */
interface Screen {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

/** Clears the bars when disposed; the lines stay. */
interface PullProgress extends Disposable {
  update(progress: Progress): void;
  /**
   * Says that layers come from a registry, which enables lines for each layer. Before that there
   * are only bars, and only on a terminal.
   */
  pulling(): void;
}

/** @param quiet shows nothing */
export function openPullProgress(quiet: boolean | undefined, screen: Screen = process.stderr): PullProgress {
  if (quiet) return { update() {}, pulling() {}, [Symbol.dispose]() {} };
  const bars = new Map<string, Progress>();
  let lines = '';
  let isPulling = false;
  let drawn = 0;
  let drawnAt = Number.NEGATIVE_INFINITY;
  const say = (layer: string, what: string) => {
    if (isPulling) lines += `${shortId(layer)}: ${what}\n`;
  };
  const draw = () => {
    const width = screen.columns ?? 80;
    const shown = [...bars.values()].map((bar) => `${formatBar(bar, width)}\n`);
    screen.write(`${wipe(drawn)}${lines}${shown.join('')}`);
    lines = '';
    drawn = shown.length;
    drawnAt = performance.now();
  };
  const flush = () => {
    if (screen.isTTY) return draw();
    if (lines !== '') screen.write(lines);
    lines = '';
  };
  return {
    update(progress) {
      const { phase, layer, done, total } = progress;
      if (phase === 'present') say(layer, 'Already exists');
      else if (phase === 'layer') {
        const isNew = !bars.has(layer);
        if (isNew && !screen.isTTY) say(layer, `Pulling${total === undefined ? '' : ` ${formatBytes(total)}`}`);
        bars.set(layer, progress);
        if (done === total) {
          bars.delete(layer);
          say(layer, 'Download complete');
        } else if (!isNew && screen.isTTY && performance.now() - drawnAt < INTERVAL) return;
      } else bars.clear();
      flush();
    },
    pulling() {
      isPulling = true;
    },
    [Symbol.dispose]() {
      bars.clear();
      if (drawn > 0 || lines !== '') flush();
    },
  };
}

/** Moves the cursor up by a number of lines and clears them. */
function wipe(lines: number): string {
  return lines === 0 ? '' : `\x1b[${lines}A\x1b[J`;
}

function shortId(layer: string): string {
  return layer.replace(/^sha256:/, '').slice(0, SHORT);
}

/**
 * The line of a layer: `5301843c2e3d: Downloading [=====>     ]  12.3MB/45MB`. Never wider than the
 * terminal.
 */
export function formatBar({ layer, done, total }: Progress, width: number): string {
  const amount = total === undefined ? formatBytes(done) : `${formatBytes(done)}/${formatBytes(total)}`;
  const cells = Math.min(BAR_WIDTH, width - OTHER_WIDTH);
  const head = `${shortId(layer)}: Downloading`;
  if (total === undefined || cells < 10) return `${head} ${amount}`.slice(0, Math.max(0, width - 1));
  const full = Math.min(cells, Math.floor((done / Math.max(total, 1)) * cells));
  return `${head} [${'='.repeat(full)}${full < cells ? '>' : ''}${' '.repeat(Math.max(0, cells - full - 1))}] ${amount}`;
}
