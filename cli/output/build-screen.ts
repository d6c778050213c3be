// Shows the steps of a build on a terminal, as BuildKit does: what is done stays above, and what runs
// is drawn again and again below it, with the last lines of its output.
import stringWidth from 'string-width';
import type { StepEvent } from '../../build/index.js';
import { printableLine } from '../../printable/index.js';
import type { Screen } from './layer-bars.js';
import { StepOutput } from './step-output.js';

/** Milliseconds between two frames. */
const INTERVAL = 100;
/** Lines of output that a running step shows. */
const SHOWN = 6;
/** Lines of output, and characters of each, that a failed step shows. */
const KEPT = 50;
const KEPT_WIDTH = 2000;
/** To the end of the line, and of the screen (ECMA-48, EL and ED). */
const CLEAR_LINE = '\x1b[K';
const CLEAR_BELOW = '\x1b[J';
/** Columns of a terminal that does not say. */
const WIDTH = 80;
const HEIGHT = 24;

interface Running {
  name: string;
  began: number;
  output: StepOutput;
  lines: string[];
}

export interface TerminalScreen extends Screen {
  rows?: number;
}

export class BuildScreen {
  readonly #screen: TerminalScreen;
  readonly #began = performance.now();
  readonly #running = new Map<number, Running>();
  readonly #timer: NodeJS.Timeout;
  #count = 0;
  #done = 0;
  /** Lines of the frame, as they were drawn. */
  #frame: string[] = [];

  constructor(screen: TerminalScreen) {
    this.#screen = screen;
    this.#timer = setInterval(() => this.#draw([]), INTERVAL);
    this.#timer.unref();
  }

  show(event: Exclude<StepEvent, { is: 'checked' | 'warning' }>): void {
    const { step } = event;
    if (event.is === 'begun') {
      this.#count++;
      const name = printableLine(event.name);
      this.#running.set(step, { name, began: performance.now(), output: new StepOutput(), lines: [] });
      return;
    }
    const running = this.#running.get(step);
    if (running === undefined) return;
    if (event.is === 'output') {
      keep(running, running.output.take(event.stream, event.bytes));
      return;
    }
    this.#running.delete(step);
    this.#done++;
    keep(running, running.output.end());
    const seconds = event.is === 'done' ? event.seconds : since(running.began);
    if (event.is !== 'failed') {
      this.#draw([this.#line(event.is === 'cached' ? `CACHED ${running.name}` : running.name, seconds)]);
    } else if (event.isCanceled) {
      this.#draw([this.#line(`CANCELED ${running.name}`, seconds)]);
    } else {
      const told = running.lines.map((line) => `${line}\n`).join('');
      const output = told === '' ? '' : `------\n > ${running.name}:\n${told}------`;
      this.#draw([this.#line(`ERROR ${running.name}`, seconds), ...(output === '' ? [] : output.split('\n'))]);
    }
  }

  /** Writes lines above the frame. */
  say(text: string): void {
    this.#draw(text.replace(/\n$/, '').split('\n'));
  }

  /** The last frame, which stays. */
  end(): void {
    clearInterval(this.#timer);
    this.#running.clear();
    this.#draw([`${this.#head()}${this.#count > 0 && this.#done === this.#count ? ' FINISHED' : ''}`]);
    this.#frame = [];
  }

  get #width(): number {
    return Math.max(1, (this.#screen.columns ?? WIDTH) - 1);
  }

  /** Writes lines that stay, and the frame below them. */
  #draw(lines: readonly string[]): void {
    const frame = this.#running.size === 0 ? [] : this.#drawn();
    if (lines.length === 0 && frame.length === 0 && this.#frame.length === 0) return;
    // Line by line: a terminal may take a screen that is cleared whole for one to keep above.
    const text = [...lines, ...frame].map((line) => `${line}${CLEAR_LINE}\n`).join('');
    this.#screen.write(`${this.#back()}${text}${CLEAR_BELOW}`);
    this.#frame = frame;
  }

  #drawn(): string[] {
    const height = Math.max(1, (this.#screen.rows ?? HEIGHT) - 2);
    const each = Math.floor((height - this.#running.size) / this.#running.size);
    const count = Math.min(SHOWN, Math.max(0, each));
    const lines: string[] = [];
    for (const { name, began, lines: told, output } of this.#running.values()) {
      lines.push(this.#line(name, since(began)));
      const open = output.open === '' ? [] : [shown(output.open)];
      const last = count === 0 ? [] : [...told, ...open].slice(-count);
      for (const line of last) lines.push(cut(` => => # ${line}`, this.#width));
    }
    return [cut(this.#head(), this.#width), ...lines.slice(-height)];
  }

  #head(): string {
    return `[+] Building ${since(this.#began).toFixed(1)}s (${this.#done}/${this.#count})`;
  }

  /** ` => name      1.2s` */
  #line(name: string, seconds: number): string {
    const time = ` ${seconds.toFixed(1)}s`;
    const room = this.#width - time.length;
    if (room < 20) return cut(` => ${name}`, this.#width);
    const text = cut(` => ${name}`, room);
    return `${text}${' '.repeat(room - stringWidth(text))}${time}`;
  }

  /** Moves the cursor to the begin of the frame. A terminal that is narrower now has broken its lines. */
  #back(): string {
    const columns = Math.max(1, this.#screen.columns ?? WIDTH);
    const rows = this.#frame.reduce((sum, line) => sum + Math.max(1, Math.ceil(stringWidth(line) / columns)), 0);
    return rows === 0 ? '\r' : `\r\x1b[${rows}A`;
  }
}

function keep({ lines }: Running, more: readonly string[]): void {
  lines.push(...more.slice(-KEPT).map(shown));
  lines.splice(0, Math.max(0, lines.length - KEPT));
}

/** A line of a program's: what a carriage return leaves of it. */
function shown(line: string): string {
  const last = line.replace(/\r+$/, '');
  return printableLine(last.slice(last.lastIndexOf('\r') + 1)).slice(0, KEPT_WIDTH);
}

const GRAPHEMES = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** The part of a text that so many columns show. */
function cut(text: string, columns: number): string {
  if (text.length <= columns && stringWidth(text) <= columns) return text;
  let [end, width] = [0, 0];
  for (const { segment, index } of GRAPHEMES.segment(text)) {
    width += stringWidth(segment);
    if (width > columns) break;
    end = index + segment.length;
  }
  return text.slice(0, end);
}

function since(time: number): number {
  return (performance.now() - time) / 1000;
}
