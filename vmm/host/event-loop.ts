// The event loop of the device thread: one level-triggered epoll instance, a callback for each file
// descriptor, and timers, which need no descriptors.
import * as libc from './libc.js';

const MAX_EVENTS = 64;
/** Milliseconds that epoll can wait for. */
const MAX_WAIT = 2 ** 31 - 1;
/** `struct epoll_event` is packed on x86-64: u32 events, u64 data. */
const EVENT_SIZE = 12;

export type EventCallback = (events: number) => void;

interface Source {
  fd: number;
  generation: number;
  callback: EventCallback;
}

/** What the loop needs to know of a timer. */
export interface Deadline {
  /** Milliseconds, as performance.now(). */
  readonly due: number;
  fire(): void;
}

/**
 * Waits for file descriptors, which blocks the calling thread. Owns the epoll descriptor, not the
 * others.
 */
export class EventLoop implements Disposable {
  readonly #epoll = libc.check(libc.epoll_create1(libc.O_CLOEXEC), 'epoll_create1');
  readonly #sources = new Map<number, Source>();
  readonly #control = new Uint32Array(3);
  readonly #events = new Uint32Array((MAX_EVENTS * EVENT_SIZE) / 4);
  #deferred: (() => void)[] = [];
  readonly #deadlines = new Set<Deadline>();
  /** When the first of them was due at the last wait. */
  #firstDue = Number.POSITIVE_INFINITY;
  #generation = 0;
  #running = false;

  /** Calls `callback` whenever one of `events` (libc.EPOLLIN, ...) holds for `fd`. */
  add(fd: number, events: number, callback: EventCallback): void {
    const source = { fd, generation: ++this.#generation, callback };
    this.#ctl(libc.EPOLL_CTL_ADD, source, events);
    this.#sources.set(fd, source);
  }

  /** Changes the events to wait for. 0 waits for errors and hang-ups only. */
  modify(fd: number, events: number): void {
    const source = this.#sources.get(fd);
    if (source !== undefined) this.#ctl(libc.EPOLL_CTL_MOD, source, events);
  }

  /** Forgets `fd`. Call this before closing `fd`. */
  remove(fd: number): void {
    const source = this.#sources.get(fd);
    if (source === undefined) return;
    this.#sources.delete(fd);
    this.#ctl(libc.EPOLL_CTL_DEL, source, 0);
  }

  #ctl(operation: number, source: Source, events: number): void {
    this.#control[0] = events;
    this.#control[1] = source.fd;
    this.#control[2] = source.generation;
    libc.check(libc.epoll_ctl(this.#epoll, operation, source.fd, this.#control), 'epoll_ctl');
  }

  /**
   * Calls `callback` once, after the callbacks that are due now. For work cut into pieces, so that
   * other sources get their turn.
   */
  defer(callback: () => void): void {
    this.#deferred.push(callback);
  }

  /** Calls `fire` when it is due, and once. Machines have few timers. */
  arm(deadline: Deadline): void {
    this.#deadlines.add(deadline);
  }

  disarm(deadline: Deadline): void {
    this.#deadlines.delete(deadline);
  }

  /** Runs callbacks until {@link stop}. */
  run(): void {
    this.#running = true;
    while (this.#running) this.poll(-1);
  }

  stop(): void {
    this.#running = false;
  }

  /** Milliseconds to wait for descriptors: at most `timeout` (-1: no limit). */
  #wait(timeout: number): number {
    if (this.#deferred.length > 0) return 0;
    if (this.#deadlines.size === 0) return timeout;
    this.#firstDue = Number.POSITIVE_INFINITY;
    for (const { due } of this.#deadlines) this.#firstDue = Math.min(this.#firstDue, due);
    const left = Math.min(Math.max(0, Math.ceil(this.#firstDue - performance.now())), MAX_WAIT);
    return timeout < 0 ? left : Math.min(timeout, left);
  }

  /** Returns the number of timers that fired. */
  #fire(): number {
    const now = this.#deadlines.size === 0 ? 0 : performance.now();
    if (now < this.#firstDue) return 0;
    let count = 0;
    for (const deadline of [...this.#deadlines]) {
      // An earlier callback may have cleared it, or set it to a later time.
      if (deadline.due > now || !this.#deadlines.delete(deadline)) continue;
      deadline.fire();
      count++;
    }
    return count;
  }

  /**
   * Waits at most `timeout` milliseconds (-1: no limit), then runs the callbacks that are due.
   * Returns the number of descriptors that were ready and of timers that fired.
   */
  poll(timeout: number): number {
    const count = libc.epoll_pwait(this.#epoll, this.#events, MAX_EVENTS, this.#wait(timeout), null);
    if (count < 0) {
      if (libc.errno() === libc.EINTR) return 0;
      libc.check(count, 'epoll_pwait');
    }
    for (let index = 0; index < count; index++) {
      const at = (index * EVENT_SIZE) / 4;
      // Three words per event, and at most MAX_EVENTS events: `at + 2` is inside the array.
      const source = this.#sources.get(this.#events[at + 1]!);
      // An earlier callback of this round may have closed the descriptor, and its number may be
      // reused.
      if (source !== undefined && source.generation === this.#events[at + 2]) source.callback(this.#events[at]!);
    }
    const fired = this.#fire();
    if (this.#deferred.length > 0) {
      const due = this.#deferred;
      this.#deferred = [];
      for (const callback of due) callback();
    }
    return count + fired;
  }

  [Symbol.dispose](): void {
    this.#sources.clear();
    this.#deadlines.clear();
    libc.close(this.#epoll);
  }
}
