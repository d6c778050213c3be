// The layers of a pull or a push. On a terminal: a bar for each layer in progress, below the lines
// of the finished ones. Elsewhere: lines only.
import { formatBytes } from './table.js';

/** Milliseconds between two updates. */
const INTERVAL = 100;
/** Digits of a layer's digest to show. */
const SHORT = 12;
const BAR_WIDTH = 50;
/** Columns of a line besides its bar. */
const OTHER_WIDTH = 50;

/** The output: stderr, or a substitute in tests. */
export interface Screen {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

/** A layer in progress. */
export interface Bar {
  layer: string;
  /** Bytes. */
  done: number;
  total: number | undefined;
}

export class LayerBars {
  readonly #bars = new Map<string, Bar>();
  #lines = '';
  #drawn = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;

  /** @param doing what the layers in progress do: `Downloading` */
  constructor(
    private readonly screen: Screen,
    private readonly doing: string,
  ) {}

  /** Adds a line about a layer, which `flush` writes. */
  say(layer: string, what: string): void {
    this.#lines += `${shortId(layer)}: ${what}\n`;
  }

  /** Returns true if the layer had no bar yet. */
  set({ layer, done, total }: Bar): boolean {
    const isNew = !this.#bars.has(layer);
    this.#bars.set(layer, { layer, done, total });
    return isNew;
  }

  delete(layer: string): void {
    this.#bars.delete(layer);
  }

  clear(): void {
    this.#bars.clear();
  }

  /** True if a bar that has only moved need not be drawn yet. */
  get isFresh(): boolean {
    return this.screen.isTTY === true && performance.now() - this.#drawnAt < INTERVAL;
  }

  flush(): void {
    if (this.screen.isTTY) this.#draw();
    else if (this.#lines !== '') this.screen.write(this.#lines);
    this.#lines = '';
  }

  /** Clears the bars; the lines stay. */
  end(): void {
    this.#bars.clear();
    if (this.#drawn > 0 || this.#lines !== '') this.flush();
  }

  #draw(): void {
    const width = this.screen.columns ?? 80;
    const shown = [...this.#bars.values()].map((bar) => `${formatBar(bar, width, this.doing)}\n`);
    this.screen.write(`${wipe(this.#drawn)}${this.#lines}${shown.join('')}`);
    this.#drawn = shown.length;
    this.#drawnAt = performance.now();
  }
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
export function formatBar({ layer, done, total }: Bar, width: number, doing: string): string {
  const amount = total === undefined ? formatBytes(done) : `${formatBytes(done)}/${formatBytes(total)}`;
  const cells = Math.min(BAR_WIDTH, width - OTHER_WIDTH);
  const head = `${shortId(layer)}: ${doing}`;
  if (total === undefined || cells < 10) return `${head} ${amount}`.slice(0, Math.max(0, width - 1));
  const full = Math.min(cells, Math.floor((done / Math.max(total, 1)) * cells));
  return `${head} [${'='.repeat(full)}${full < cells ? '>' : ''}${' '.repeat(Math.max(0, cells - full - 1))}] ${amount}`;
}
