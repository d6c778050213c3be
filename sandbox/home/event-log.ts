// The log behind `tsvm events`: one line of JSON for each event of a container, appended by the
// process that caused it.
import { closeSync, mkdirSync, renameSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openForLines } from './log-file.js';
import { readLog } from './log-reader.js';

const FILE = 'events.json';
/** Bytes after which the file is rotated, like a log. */
const MAX_SIZE = 1_000_000;

export interface ContainerEvent {
  /** RFC 3339. */
  time: string;
  Type: 'container';
  /** `create`, `start`, `die`, `oom`, `stop`, `kill`, `pause`, `unpause`, `rename`, `destroy`,
   * `network-refused`, `network-down`, `network-up`. */
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
    const path = this.#path;
    try {
      const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      if (size > MAX_SIZE) renameSync(path, `${path}.1`);
      const fd = openForLines(path);
      try {
        // One write, so that events of other processes stay apart.
        writeSync(fd, `${JSON.stringify(event)}\n`);
      } finally {
        closeSync(fd);
      }
    } catch {
      // The disk is full, or another process has just rotated the file.
    }
  }

  /** The events from `since` on, including those to come, up to `until` if given. */
  read({ since, until }: EventPeriod = {}): AsyncGenerator<ContainerEvent> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const end = until === undefined ? new Promise<never>(() => {}) : sleep(Math.max(0, until - Date.now()));
    return readLog<ContainerEvent>(this.#path, { since, until, follow: end });
  }

  /** Path of the newest file. */
  get #path(): string {
    return join(this.#folder, FILE);
  }
}
