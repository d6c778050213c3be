// A timer of the event loop.
import type { Deadline, EventLoop } from './event-loop.js';

/** Fires once each time it is set. The event loop calls the callback. */
export class Timer implements Disposable, Deadline {
  readonly #loop: EventLoop;
  readonly fire: () => void;
  due = 0;

  constructor(loop: EventLoop, callback: () => void) {
    this.#loop = loop;
    this.fire = callback;
  }

  /**
   * Fires after `milliseconds`, which may have a fraction, and at most a millisecond later. Replaces
   * the time that was set before.
   */
  set(milliseconds: number): void {
    this.due = performance.now() + milliseconds;
    this.#loop.arm(this);
  }

  /** Disarms the timer until it is set again. */
  clear(): void {
    this.#loop.disarm(this);
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
