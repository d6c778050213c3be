// Reading a container's output back, and following it while it grows and is rotated.
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import { hasCode } from '../../errors/index.js';
import { type LogEntry, rotated } from './log-file.js';

const CHUNK = 65_536;
/** Milliseconds between looks at a log that the kernel tells nothing of. */
const POLL = 1000;

/** What every entry has; one that has no `log` is a line. */
interface Timed {
  time: string;
  log?: string;
}

export interface ReadLogOptions {
  /** Only so many lines from the end. */
  tail?: number | undefined;
  /** Only entries of this time (milliseconds since the epoch) and later. */
  since?: number | undefined;
  /** Only entries before this time. */
  until?: number | undefined;
  /** Goes on with what is written, until this resolves and everything is read. */
  follow?: Promise<unknown> | undefined;
}

/** The entries of the log at `path`, oldest first; none if there is no log. */
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
    follow.finally(() => {
      ended = true;
    });
    using changes = watchFor(path, follow);
    for (;;) {
      // What was written before the end is there to be read after it.
      const last = ended;
      for (entries = cursor.read(); entries.length > 0; entries = cursor.read()) yield* entries.filter(wanted);
      if (last || Date.now() >= until) return;
      if (!ended) await changes.next();
    }
  } finally {
    cursor[Symbol.dispose]();
  }
}

/** The entries that make the last `count` lines. */
function lastLines<Entry extends Timed>(entries: Entry[], count: number): Entry[] {
  let lines = 0;
  for (let index = entries.length - 1; index >= 0; index--) {
    // The newest line may not have its end yet.
    if (entries[index]?.log?.endsWith('\n') !== false || index === entries.length - 1) lines++;
    if (lines > count) return entries.slice(index + 1);
  }
  return count === 0 ? [] : entries;
}

/** A place in a log that is rotated meanwhile: a file is read to its end, then the next newer one. */
class LogCursor<Entry> implements Disposable {
  readonly #path: string;
  #fd: number | undefined;
  #inode = 0;
  #decoder = new StringDecoder('utf8');
  #line = '';

  constructor(path: string) {
    this.#path = path;
  }

  /** The next entries; none at the end of what is written. */
  read(): Entry[] {
    const chunk = Buffer.allocUnsafe(CHUNK);
    for (;;) {
      if (this.#fd === undefined && !this.#openOldest()) return [];
      const count = readSync(this.#fd!, chunk);
      if (count > 0) {
        const entries = this.#decode(this.#decoder.write(chunk.subarray(0, count)));
        if (entries.length > 0) return entries;
      } else if (!this.#openNewer()) return [];
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #decode(text: string): Entry[] {
    const lines = (this.#line + text).split('\n');
    this.#line = lines.pop()!;
    return lines.flatMap((line) => {
      try {
        return [JSON.parse(line) as Entry];
      } catch {
        // Cut short by a host that went down.
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

  /** Goes on with the file that came after the one that is open, if there is one. */
  #openNewer(): boolean {
    for (let age = 0; ; age++) {
      const found = statSync(rotated(this.#path, age), { throwIfNoEntry: false });
      // Rotated away altogether: the oldest there is comes next.
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
    this.#decoder = new StringDecoder('utf8');
    this.#line = '';
    return true;
  }
}

/** Resolves `next` when the log may have grown. */
function watchFor(path: string, end: Promise<unknown>): Disposable & { next(): Promise<void> } {
  let wake = () => {};
  let changed = true;
  const change = () => {
    changed = true;
    wake();
  };
  end.finally(change);
  const timer = setInterval(change, POLL);
  let watcher: Disposable | undefined;
  try {
    const files = watch(dirname(path), change).on('error', () => {});
    watcher = { [Symbol.dispose]: () => files.close() };
  } catch {
    // No inotify instances are left: the timer serves.
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
