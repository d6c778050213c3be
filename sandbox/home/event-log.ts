// What happens to containers, as it is written down for `tsvm events`: a line of JSON each, appended by whoever did it.
import { appendFileSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readLog } from './log-reader.js';

const FILE = 'events.json';
/** Bytes after which the file is put aside, as a log is. */
const MAX_SIZE = 1_000_000;

export interface ContainerEvent {
  /** RFC 3339. */
  time: string;
  Type: 'container';
  /** `create`, `start`, `die`, `oom`, `stop`, `kill`, `pause`, `unpause`, `rename`, `destroy`,
   * `network-refused`. */
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

  /** @param folder the folder of all containers */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Writes down that something happened. That it cannot be is no reason for it not to happen. */
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
      appendFileSync(path, `${JSON.stringify(event)}\n`, { mode: 0o600 });
    } catch {
      // A full disk, or somebody else put it aside just now.
    }
  }

  /** What happened from `since` on (milliseconds since the epoch), and goes on to happen; up to `until`, if given. */
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
