// What a proxy of placeholders tells of the requests that it took: one line of JSON each, without
// path, headers and body.
import { appendFileSync } from 'node:fs';
import type { Audit } from '../spec/secrets.js';

/** Lines in a second: a guest does not fill the disk. Requests beyond are counted in one line. */
const MAX_LINES = 20;
const SECOND = 1000;
/** What pino calls a line that tells and does not warn. */
const INFO = 30;

interface Audited {
  /** The named host; absent if the request is for none. */
  host: string | undefined;
  method: string | undefined;
  /** Of the answer, which may be the proxy's own. Absent: there was none. */
  status: number | undefined;
  /** Headers into which values were put. */
  values: number;
  milliseconds: number;
}

export class AuditLog implements Disposable {
  readonly #audit: Audit | undefined;
  #lines = 0;
  #omitted = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(audit: Audit | undefined) {
    this.#audit = audit;
  }

  add(audited: Audited): void {
    if (this.#audit === undefined) return;
    if (++this.#lines > MAX_LINES || !this.#write(this.#audit, audited)) this.#omitted++;
    this.#timer ??= setTimeout(() => this.#nextSecond(), SECOND);
  }

  #nextSecond(): void {
    this.#timer = undefined;
    this.#lines = 0;
    if (this.#omitted === 0 || this.#audit === undefined) return;
    if (this.#write(this.#audit, { omitted: this.#omitted })) this.#omitted = 0;
    else this.#timer = setTimeout(() => this.#nextSecond(), SECOND);
  }

  /** False if the disk is full, or the like. */
  #write({ file, about }: Audit, what: object): boolean {
    const line = { level: INFO, time: new Date().toISOString(), ...about, ...what };
    try {
      appendFileSync(file, `${JSON.stringify(line)}\n`, { mode: 0o600 });
      return true;
    } catch {
      return false;
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#nextSecond();
    clearTimeout(this.#timer);
  }
}

/** One request. Its line is written once its answer begins, or it has ended without one. */
export class AuditedRequest {
  readonly #log: AuditLog;
  readonly #method: string | undefined;
  readonly #began = performance.now();
  #isTold = false;
  host: string | undefined;
  values = 0;

  constructor(log: AuditLog, method: string | undefined) {
    this.#log = log;
    this.#method = method;
  }

  /** @param status undefined: there is no answer */
  answered(status: number | undefined): void {
    if (this.#isTold) return;
    this.#isTold = true;
    const milliseconds = Math.round(performance.now() - this.#began);
    this.#log.add({ host: this.host, method: this.#method, status, values: this.values, milliseconds });
  }
}
