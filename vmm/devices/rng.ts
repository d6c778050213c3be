// The entropy device (virtio 1.2, 5.4 "Entropy Device"): the host's random bytes straight into
// guest memory.
import { fillRandom } from '../host/random.js';
import { Rate } from '../rate.js';
import { type NoState, noState } from '../saved-state.js';
import { allocateIovecs, IOVEC_WORDS } from '../virtio/buffers.js';
import type { DeviceContext, VirtioDevice } from '../virtio/device.js';
import { DescriptorChain, type Virtqueue } from '../virtio/queue.js';
import { drain } from './drain.js';
import { Hold } from './hold.js';

const VIRTIO_ID_RNG = 4;
const QUEUE_SIZE = 64;
/** The most bytes for one request. A driver that wants more asks again. */
const MAX_BYTES = 64 * 1024;
/**
 * What a second may bring: a hundred times as much as a kernel asks for that seeds its generator
 * again and again. /dev/urandom does not come from here.
 */
const RATES = { bytes: 2 ** 20, requests: 1000 };

export class VirtioRng implements VirtioDevice<NoState> {
  readonly type = VIRTIO_ID_RNG;
  readonly name = 'rng';
  readonly features: readonly number[] = [];
  readonly queueSizes = [QUEUE_SIZE];
  readonly checkState = noState;
  readonly config = new Uint8Array(0);
  readonly #iovecs = allocateIovecs(QUEUE_SIZE);
  #context: DeviceContext | undefined;
  #chain: DescriptorChain | undefined;
  readonly #rate = new Rate(RATES, performance.now());
  readonly #hold = new Hold();
  readonly #serve = (chain: DescriptorChain, queue: Virtqueue) => {
    const delay = this.#rate.delay(performance.now());
    if (delay > 0) return this.#hold.back(queue, delay);
    const filled = this.#fill(chain);
    this.#rate.take(filled, 1);
    queue.push(chain.head, filled);
    return filled;
  };
  readonly #again = () => this.kick(0);

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#chain = new DescriptorChain(context.memory, QUEUE_SIZE);
    this.#hold.start(context.loop, this.#again);
  }

  kick(index: number): void {
    if (this.#context === undefined || this.#chain === undefined || this.#hold.isHeld) return;
    drain(this.#context, index, this.#chain, this.#serve, this.#again);
  }

  /** Fills the chain's buffers in order. Returns the bytes written. */
  #fill({ writable }: DescriptorChain): number {
    const count = writable.iovecs(0, Math.min(writable.length, MAX_BYTES), this.#iovecs);
    let filled = 0;
    for (let word = 0; word < count * IOVEC_WORDS; word += IOVEC_WORDS) {
      const address = this.#iovecs[word]! + this.#iovecs[word + 1]! * 2 ** 32;
      const length = this.#iovecs[word + 2]!;
      const got = fillRandom(address, length);
      filled += Math.max(got, 0);
      if (got !== length) break;
    }
    return filled;
  }

  reset(): void {
    this.#context = undefined;
    this.#chain = undefined;
    this.#hold[Symbol.dispose]();
  }

  save(): NoState {
    return {};
  }

  restore(): void {
    this.kick(0);
  }

  [Symbol.dispose](): void {
    this.reset();
  }
}
