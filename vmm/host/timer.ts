// A timer of the event loop: timerfd(2).
import type { EventLoop } from './event-loop.js';
import * as libc from './libc.js';

/** Fires once each time it is set. The event loop calls the callback. */
export class Timer implements Disposable {
  readonly #loop: EventLoop;
  readonly #fd = libc.check(
    libc.timerfd_create(libc.CLOCK_MONOTONIC, libc.TFD_CLOEXEC | libc.TFD_NONBLOCK),
    'timerfd_create',
  );
  /**
   * `struct itimerspec` in 32-bit words: interval, then value, each as i64 seconds and i64
   * nanoseconds.
   */
  readonly #setting = new Uint32Array(8);

  constructor(loop: EventLoop, callback: () => void) {
    this.#loop = loop;
    loop.add(this.#fd, libc.EPOLLIN, () => {
      // A callback that was due when the timer was set again finds nothing to read.
      if (libc.drainEventFd(this.#fd)) callback();
    });
  }

  /**
   * Fires after `milliseconds`, which may have a fraction. Replaces the time that was set before.
   */
  set(milliseconds: number): void {
    const seconds = Math.floor(milliseconds / 1000);
    // All zeroes would disarm the timer.
    this.#write(seconds, Math.max(1, Math.ceil((milliseconds - seconds * 1000) * 1e6)));
  }

  /** Disarms the timer until it is set again. */
  clear(): void {
    this.#write(0, 0);
  }

  #write(seconds: number, nanoseconds: number): void {
    this.#setting[4] = Math.min(seconds + Math.floor(nanoseconds / 1e9), 2 ** 32 - 1);
    this.#setting[6] = nanoseconds % 1e9;
    libc.check(libc.timerfd_settime(this.#fd, 0, this.#setting, null), 'timerfd_settime');
  }

  [Symbol.dispose](): void {
    this.#loop.remove(this.#fd);
    libc.close(this.#fd);
  }
}
