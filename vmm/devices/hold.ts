// Holds a queue back while a rate is exceeded: the request that must wait goes back into the queue,
// and is served when a timer fires. Those behind it wait too, so no request is lost or overtaken.
import type { EventLoop } from '../host/event-loop.js';
import { Timer } from '../host/timer.js';
import type { Virtqueue } from '../virtio/queue.js';
import { END_OF_TURN } from './drain.js';

export class Hold implements Disposable {
  #timer: Timer | undefined;
  #isHeld = false;

  /** @param again serves the queue */
  start(loop: EventLoop, again: () => void): void {
    this.#timer = new Timer(loop, () => {
      this.#isHeld = false;
      again();
    });
  }

  /** True until the timer fires. The queue is not served meanwhile. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Returns the request that was popped last, and ends the turn of `drain`. */
  back(queue: Virtqueue, milliseconds: number): number {
    queue.unpop(1);
    this.#isHeld = true;
    this.#timer?.set(milliseconds);
    return END_OF_TURN;
  }

  [Symbol.dispose](): void {
    this.#isHeld = false;
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }
}
