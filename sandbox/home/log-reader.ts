// Reads a log back, and follows it while it grows and is rotated.
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { hasCode } from '../../errors/index.js';
import { type LogEntry, rotated } from './log-file.js';

const CHUNK = 65_536;
/** Milliseconds between checks of a log, for changes that inotify does not report. */
const POLL = 1000;

/** What every entry has. An entry without `log` counts as a line. */
interface Timed {
  time: string;
  log?: string;
}

export interface ReadLogOptions {
  /** The number of lines to read, from the end. Default: all. */
  tail?: number | undefined;
  /** Skips entries before this time, in milliseconds since the epoch. */
  since?: number | undefined;
  /** Skips entries from this time on. */
  until?: number | undefined;
  /** Follows the log until this settles and everything is read. */
  follow?: Promise<unknown> | undefined;
}

/** The entries of the log at `path`, oldest first. A missing log has none. */
export async function* readLog<Entry extends Timed = LogEntry>(
  path: string,
  options: ReadLogOptions = {},
): AsyncGenerator<Entry> {
  const { tail, since = Number.NEGATIVE_INFINITY, until = Number.POSITIVE_INFINITY, follow } = options;
  const cursor = new LogCursor<Entry>(path);
  try {
    const wanted = ({ time }: Entry) => Date.parse(time) >= since && Date.parse(time) < until;
    let entries = cursor.read();
    if (tail === undefined) {
      while (entries.length > 0) {
        yield* entries.filter(wanted);
        entries = cursor.read();
      }
    } else {
      let last: Entry[] = [];
      for (; entries.length > 0; entries = cursor.read()) last = lastLines([...last, ...entries.filter(wanted)], tail);
      yield* last;
    }
    if (follow === undefined) return;
    let ended = false;
    const end = () => {
      ended = true;
    };
    follow.then(end, end);
    using changes = watchFor(path, follow);
    for (;;) {
      // Read once more after the end: what was written before it is there by then.
      const last = ended;
      for (entries = cursor.read(); entries.length > 0; entries = cursor.read()) yield* entries.filter(wanted);
      if (last || Date.now() >= until) return;
      if (!ended) await changes.next();
    }
  } finally {
    cursor[Symbol.dispose]();
  }
}

/** The entries of the last `count` lines. */
function lastLines<Entry extends Timed>(entries: Entry[], count: number): Entry[] {
  let lines = 0;
  for (let index = entries.length - 1; index >= 0; index--) {
    // The newest line may be incomplete.
    if (entries[index]?.log?.endsWith('\n') !== false || index === entries.length - 1) lines++;
    if (lines > count) return entries.slice(index + 1);
  }
  return count === 0 ? [] : entries;
}

/**
 * A position in a log that may be rotated meanwhile. Each file is read to its end, then the next
 * newer one.
 */
class LogCursor<Entry> implements Disposable {
  readonly #path: string;
  #fd: number | undefined;
  #inode = 0;
  /** Where the next bytes are, and where the line begins that they end or go on with. */
  #position = 0;
  #lineStart = 0;
  #decoder = new StringDecoder('utf8');
  #line = '';

  constructor(path: string) {
    this.#path = path;
  }

  /** The next entries; none at the end of the log. */
  read(): Entry[] {
    const chunk = Buffer.allocUnsafe(CHUNK);
    for (;;) {
      if (this.#fd === undefined && !this.#openOldest()) return [];
      const count = readSync(this.#fd!, chunk, 0, CHUNK, this.#position);
      if (count > 0) {
        const bytes = chunk.subarray(0, count);
        const lineEnd = bytes.lastIndexOf('\n');
        if (lineEnd >= 0) this.#lineStart = this.#position + lineEnd + 1;
        this.#position += count;
        const entries = this.#decode(this.#decoder.write(bytes));
        if (entries.length > 0) return entries;
      } else if (!this.#openNewer()) {
        this.#goBack();
        return [];
      }
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Half a line at the end is read again: its writer takes it back if the disk is full. */
  #goBack(): void {
    this.#position = this.#lineStart;
    this.#decoder = new StringDecoder('utf8');
    this.#line = '';
  }

  #decode(text: string): Entry[] {
    const lines = (this.#line + text).split('\n');
    this.#line = lines.pop()!;
    return lines.flatMap((line) => {
      try {
        // JSON has no NUL: a host that went down leaves them in place of lost entries.
        return [JSON.parse(line.slice(line.lastIndexOf('\0') + 1)) as Entry];
      } catch {
        // Incomplete, because the host went down.
        return [];
      }
    });
  }

  #openOldest(): boolean {
    const folder = dirname(this.#path);
    if (!existsSync(folder)) return false;
    const ages = readdirSync(folder)
      .filter((name) => name === basename(this.#path) || name.startsWith(`${basename(this.#path)}.`))
      .map((name) => Number(name.slice(basename(this.#path).length + 1)));
    return ages.length > 0 && this.#open(rotated(this.#path, Math.max(...ages)));
  }

  /** Opens the next newer file, if there is one. */
  #openNewer(): boolean {
    for (let age = 0; ; age++) {
      const found = statSync(rotated(this.#path, age), { throwIfNoEntry: false });
      // The open file was removed by rotation: the oldest one follows it.
      if (found === undefined) return age > 0 && this.#open(rotated(this.#path, age - 1));
      if (found.ino === this.#inode) return age > 0 && this.#open(rotated(this.#path, age - 1));
    }
  }

  #open(path: string): boolean {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    }
    this[Symbol.dispose]();
    this.#fd = fd;
    this.#inode = fstatSync(fd).ino;
    this.#lineStart = 0;
    this.#goBack();
    return true;
  }
}

/** `next` resolves when the log may have grown. */
function watchFor(path: string, end: Promise<unknown>): Disposable & { next(): Promise<void> } {
  let wake = () => {};
  let changed = true;
  const change = () => {
    changed = true;
    wake();
  };
  end.then(change, change);
  const timer = setInterval(change, POLL);
  let watcher: Disposable | undefined;
  try {
    const files = watch(dirname(path), change).on('error', () => {});
    watcher = { [Symbol.dispose]: () => files.close() };
  } catch {
    // No inotify instance is left: the timer polls.
  }
  return {
    next: async () => {
      if (!changed) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      changed = false;
    },
    [Symbol.dispose]: () => {
      clearInterval(timer);
      watcher?.[Symbol.dispose]();
    },
  };
}
