// The companion of the machine process, which the owner has started in a jail of its own
// (sandbox/machine/companion.ts). The machine process starts no program. It has pipes to this one,
// and the owner tells how it ended.
import type { EventLoop } from './event-loop.js';
import * as libc from './libc.js';

const CHUNK = 65536;

export interface CompanionPipes {
  /** A line in this pipe starts the companion. At its end of file before, the companion never runs. */
  start: number;
  /** What the companion writes, by descriptor. */
  outputs: ReadonlyMap<number, (bytes: Uint8Array) => void>;
}

/** Owns the pipes. */
export class Companion implements Disposable {
  readonly #loop: EventLoop;
  readonly #start: number;
  readonly #outputs: ReadonlyMap<number, (bytes: Uint8Array) => void>;
  readonly #chunk = Buffer.alloc(CHUNK);
  #isOpen = true;

  constructor(loop: EventLoop, { start, outputs }: CompanionPipes) {
    this.#loop = loop;
    this.#start = start;
    this.#outputs = outputs;
    for (const fd of outputs.keys()) {
      libc.fcntl(fd, libc.F_SETFL, libc.O_NONBLOCK);
      loop.add(fd, libc.EPOLLIN, () => this.#receive(fd));
    }
  }

  /** Lets the companion run. */
  start(): void {
    libc.write(this.#start, Uint8Array.of(0x0a), 1);
  }

  /** Returns false if there is nothing to read now. */
  #receive(fd: number): boolean {
    const count = libc.read(fd, this.#chunk, CHUNK);
    // End of the stream. The owner reports the end of the companion.
    if (count === 0) this.#loop.remove(fd);
    if (count <= 0) return false;
    this.#outputs.get(fd)?.(this.#chunk.subarray(0, count));
    return true;
  }

  /** The companion has ended: passes on the last of what it wrote. */
  drain(): void {
    for (const fd of this.#outputs.keys()) while (this.#isOpen && this.#receive(fd));
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const fd of this.#outputs.keys()) this.#loop.remove(fd);
    for (const fd of [this.#start, ...this.#outputs.keys()]) libc.close(fd);
  }
}
