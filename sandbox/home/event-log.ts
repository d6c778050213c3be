// The log behind `tsvm events`: one line of JSON for each event of a container, appended by the
// process that caused it.
import { closeSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../errors/index.js';
import { keepFairly } from './fair-history.js';
import { FileLock } from './lock.js';
import { openForLines, rotated } from './log-file.js';
import { readLog } from './log-reader.js';

const FILE = 'events.json';
/** What the rotated files had, less what is too much of one container. */
const HISTORY = 'events-history.json';
/** Held while files are rotated. */
const LOCK = 'events.lock';
/** Bytes after which the file is rotated, and the most bytes of the history. */
const MAX_SIZE = 1_000_000;
/** Milliseconds that a reader waits for the end of a rotation. */
const PATIENCE = 10_000;

export interface ContainerEvent {
  /** RFC 3339. */
  time: string;
  Type: 'container';
  /** `create`, `start`, `die`, `oom`, `stop`, `kill`, `pause`, `unpause`, `suspend`, `resume`,
   * `rename`, `destroy`, `network-refused`, `health_status: healthy` or `unhealthy`. */
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
}

/** Milliseconds since the epoch. */
export interface EventPeriod {
  since?: number | undefined;
  until?: number | undefined;
}

/** The events of the containers of one home. */
export class EventLog {
  readonly #folder: string;

  /** @param folder path of the folder of all containers */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Records an event. If that fails, what happened stands: errors are ignored. */
  record(id: string, action: string, attributes: Record<string, string> = {}): void {
    const event: ContainerEvent = {
      time: new Date().toISOString(),
      Type: 'container',
      Action: action,
      Actor: { ID: id, Attributes: attributes },
    };
    try {
      if (this.#isFull()) this.#rotate();
    } catch {
      // The disk is full. The file grows until a later event can rotate it.
    }
    try {
      const fd = openForLines(this.#path);
      try {
        // One write, so that events of other processes stay apart.
        writeSync(fd, `${JSON.stringify(event)}\n`);
      } finally {
        closeSync(fd);
      }
    } catch {
      // The disk is full.
    }
  }

  /** The events from `since` on, including those to come, up to `until` if given. */
  async *read({ since, until }: EventPeriod = {}): AsyncGenerator<ContainerEvent> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const end = until === undefined ? new Promise<never>(() => {}) : sleep(Math.max(0, until - Date.now()));
    const log = readLog<ContainerEvent>(this.#path, { since, until, follow: end });
    let history: string;
    let first: Promise<IteratorResult<ContainerEvent>>;
    {
      // Without a rotation in between, the log goes on where the history ends.
      using _lock = await FileLock.wait(join(this.#folder, LOCK), PATIENCE);
      history = this.#readHistory();
      first = log.next();
    }
    try {
      for (const line of linesOf(history)) {
        const event = parse(line);
        const time = event === undefined ? Number.NaN : Date.parse(event.time);
        const isWanted = time >= (since ?? Number.NEGATIVE_INFINITY) && time < (until ?? Number.POSITIVE_INFINITY);
        if (event !== undefined && isWanted) yield event;
      }
      const { done, value } = await first;
      if (done) return;
      yield value;
      yield* log;
    } finally {
      await log.return(undefined);
    }
  }

  #isFull(): boolean {
    return (statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0) > MAX_SIZE;
  }

  /**
   * Adds the rotated file to the history and rotates the newest one. A guest causes as many events
   * as it likes: each refused connection is one, and with a restart policy each end. So the history
   * drops events of the containers that have the most, and keeps those of all others.
   */
  #rotate(): void {
    using lock = FileLock.take(join(this.#folder, LOCK));
    // Another process rotates the files, or has just done so.
    if (lock === undefined || !this.#isFull()) return;
    const lines = linesOf(this.#readHistory() + readIfThere(rotated(this.#path, 1)));
    const kept = keepFairly(lines, { groupOf, budget: MAX_SIZE });
    const history = join(this.#folder, HISTORY);
    writeFileSync(`${history}.new`, kept.map((line) => `${line}\n`).join(''), { mode: 0o600 });
    renameSync(`${history}.new`, history);
    renameSync(this.#path, rotated(this.#path, 1));
  }

  #readHistory(): string {
    return readIfThere(join(this.#folder, HISTORY));
  }

  /** Path of the newest file. */
  get #path(): string {
    return join(this.#folder, FILE);
  }
}

/**
 * Refusals and changes of health count apart from the other events of their container: a guest causes
 * them as it likes, and they must not push its start and its end out of the history. A line that
 * cannot be read is of no container.
 */
function groupOf(line: string): string | undefined {
  const event = parse(line);
  return event && `${event.Actor.ID} ${/^(network-refused|health_status)/.exec(event.Action)?.[0] ?? ''}`;
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

/** Undefined if the host went down while the line was written. */
function parse(line: string): ContainerEvent | undefined {
  try {
    const event: Partial<ContainerEvent> | null = JSON.parse(line);
    return typeof event?.time === 'string' && event.Actor?.ID !== undefined ? (event as ContainerEvent) : undefined;
  } catch {
    return undefined;
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return '';
    throw error;
  }
}
