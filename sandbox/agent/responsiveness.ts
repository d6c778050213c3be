// The one deadline of everything that a guest is asked. A guest that lets it pass is suspect:
// further requests fail at once, until an answer comes after all.
import { SandboxError } from '../errors.js';

/** Milliseconds for a guest to answer a request. */
export const REQUEST_TIMEOUT = 30_000;
/**
 * Milliseconds. A deadline passes in such steps, and each counts as one, however late it ends: while
 * this process gets no processor, or is stopped, it reads no answer.
 */
const STEP = 1000;
/** The most requests without an answer. A guest may answer some of them and never the others. */
const MAX_PENDING = 1024;

interface Pending {
  /** Starts the deadline from its beginning. */
  start(): void;
  stop(): void;
}

export interface RequestOptions<T> {
  /** Milliseconds. Default: `REQUEST_TIMEOUT`. */
  timeout?: number | undefined;
  /** Called with an answer that comes after the deadline. */
  onLate?: ((answer: T) => void) | undefined;
}

/** Owns the timers of the requests to one guest. */
export class Responsiveness implements Disposable {
  /** Called when the guest becomes suspect, and when it answers again. */
  onChange: (suspect: boolean) => void = () => {};
  readonly #pending = new Set<Pending>();
  #isSuspect = false;
  #isHeld = false;

  /** True from the first deadline that passes to the next answer. */
  get isSuspect(): boolean {
    return this.#isSuspect;
  }

  /**
   * Asks the guest, and waits for its answer. `ask` is called before this returns.
   * @throws SandboxError `unresponsive` when the deadline passes, and at once while it is suspect
   */
  inTime<T>(ask: () => Promise<T>, { timeout = REQUEST_TIMEOUT, onLate }: RequestOptions<T> = {}): Promise<T> {
    if (this.#isSuspect) return Promise.reject(unresponsive('has stopped answering'));
    if (this.#pending.size >= MAX_PENDING) {
      return Promise.reject(unresponsive(`has left ${MAX_PENDING} requests without an answer`));
    }
    return new Promise((resolve, reject) => {
      let isLate = false;
      const deadline = new Deadline(timeout, () => {
        isLate = true;
        this.#become(true);
        reject(unresponsive(`has not answered in ${timeout / 1000} s`));
      });
      const pending = {
        start: () => {
          if (!isLate) deadline.start();
        },
        stop: () => deadline.stop(),
      };
      this.#pending.add(pending);
      if (!this.#isHeld) pending.start();
      const answered = () => {
        pending.stop();
        this.#pending.delete(pending);
        this.#become(false);
      };
      ask().then(
        (answer) => {
          answered();
          if (isLate) onLate?.(answer);
          else resolve(answer);
        },
        (error) => {
          answered();
          reject(error);
        },
      );
    });
  }

  /** Stops all deadlines while the guest is paused. Later they start from their beginning. */
  hold(isHeld: boolean): void {
    if (this.#isHeld === isHeld) return;
    this.#isHeld = isHeld;
    for (const pending of this.#pending) isHeld ? pending.stop() : pending.start();
  }

  [Symbol.dispose](): void {
    for (const pending of this.#pending) pending.stop();
    this.#pending.clear();
  }

  #become(isSuspect: boolean): void {
    if (this.#isSuspect === isSuspect) return;
    this.#isSuspect = isSuspect;
    this.onChange(isSuspect);
  }
}

/** A time limit in steps of this process's own. */
export class Deadline {
  readonly #milliseconds: number;
  readonly #pass: () => void;
  #timer: NodeJS.Timeout | undefined;
  #last: NodeJS.Immediate | undefined;

  constructor(milliseconds: number, pass: () => void) {
    this.#milliseconds = milliseconds;
    this.#pass = pass;
  }

  /** From its beginning. */
  start(left = this.#milliseconds): void {
    const step = Math.min(left, STEP);
    this.#timer = setTimeout(() => {
      if (left > step) this.start(left - step);
      // Timers come before what can be read: an answer that has arrived is in time.
      else this.#last = setImmediate(this.#pass);
    }, step);
  }

  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#last);
  }
}

/** @param what what the guest has done: `has not answered in 30 s` */
export function unresponsive(what: string): SandboxError {
  return new SandboxError('unresponsive', `the guest ${what}: stop or kill the container to end it`);
}
