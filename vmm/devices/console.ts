// The console device (virtio 1.2, 5.3 "Console Device"): one port, no multiport.

import { type NoState, noState } from '../saved-state.js';
import type { DeviceContext, VirtioDevice } from '../virtio/device.js';
import { DescriptorChain, type Virtqueue } from '../virtio/queue.js';
import { drain } from './drain.js';

const VIRTIO_ID_CONSOLE = 3;

// Queues of port 0 (virtio 1.2, 5.3.2).
const RECEIVE = 0;
const TRANSMIT = 1;
const QUEUE_SIZE = 64;
/** Output is passed on in pieces of this many bytes. */
const PIECE = 4096;
/** The most bytes taken from one chain. No regular driver sends a longer one. */
const MAX_CHAIN = 1024 * 1024;

export interface ConsoleOptions {
  /** Called with the guest's output. The bytes are valid during the call only. */
  output: (bytes: Uint8Array) => void;
  /** The guest has room for input again. */
  onRoom?: () => void;
}

export class VirtioConsole implements VirtioDevice<NoState> {
  readonly type = VIRTIO_ID_CONSOLE;
  readonly name = 'console';
  readonly features: readonly number[] = [];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly checkState = noState;
  /** `cols`, `rows`, `max_nr_ports`, `emerg_wr`: each belongs to a feature that is not offered. */
  readonly config = new Uint8Array(12);
  readonly #options: ConsoleOptions;
  readonly #piece = new Uint8Array(PIECE);
  #context: DeviceContext | undefined;
  #chain: DescriptorChain | undefined;
  readonly #serve = (chain: DescriptorChain, queue: Virtqueue) => this.#transmit(chain, queue);
  readonly #again = () => this.kick(TRANSMIT);

  constructor(options: ConsoleOptions) {
    this.#options = options;
  }

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#chain = new DescriptorChain(context.memory, QUEUE_SIZE);
    // A kick for new buffers is useful only after input found none.
    context.queues[RECEIVE]?.disableKicks();
  }

  kick(index: number): void {
    if (this.#context === undefined || this.#chain === undefined) return;
    if (index === TRANSMIT) drain(this.#context, index, this.#chain, this.#serve, this.#again);
    else if (index === RECEIVE) this.#options.onRoom?.();
  }

  #transmit(chain: DescriptorChain, queue: Virtqueue): number {
    const length = Math.min(chain.readable.length, MAX_CHAIN);
    for (let done = 0; done < length; ) {
      const count = chain.readable.read(done, this.#piece);
      if (count === 0) break;
      this.#options.output(this.#piece.subarray(0, count));
      done += count;
    }
    queue.push(chain.head, 0);
    return length;
  }

  /**
   * Gives the guest as many of `bytes` as it has room for. Returns their number. `onRoom` reports
   * new room.
   */
  input(bytes: Uint8Array): number {
    const queue = this.#context?.queues[RECEIVE];
    if (queue === undefined || this.#chain === undefined) return 0;
    let done = 0;
    for (let budget = queue.size; budget > 0 && done < bytes.length; budget--) {
      if (!queue.pop(this.#chain) && !(queue.enableKicks() && queue.pop(this.#chain))) break;
      const count = this.#chain.writable.write(0, bytes.subarray(done));
      queue.push(this.#chain.head, count);
      done += count;
    }
    this.#context?.notify(RECEIVE);
    return done;
  }

  reset(): void {
    this.#context = undefined;
    this.#chain = undefined;
  }

  save(): NoState {
    return {};
  }

  restore(): void {
    for (const queue of [RECEIVE, TRANSMIT]) this.kick(queue);
  }

  [Symbol.dispose](): void {
    this.reset();
  }
}
