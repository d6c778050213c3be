// The memory balloon device (virtio 1.2, 5.5 "Traditional Memory Balloon Device"), for free page
// reporting only. The driver reports free pages, and the host takes their memory back. The guest
// may use the pages again at any time without telling the device. The balloon itself stays empty;
// pages that a driver puts into it stay the guest's.

import { type NoState, noState } from '../saved-state.js';
import type { DeviceContext, VirtioDevice } from '../virtio/device.js';
import { DescriptorChain, type Virtqueue } from '../virtio/queue.js';
import { drain } from './drain.js';

const VIRTIO_ID_BALLOON = 5;

/** Feature bit (virtio 1.2, 5.5.3). */
const VIRTIO_BALLOON_F_REPORTING = 5;

/** Behind inflateq and deflateq; without the features of those between (virtio 1.2, 5.5.2). */
const REPORTING_QUEUE = 2;
const QUEUE_SIZE = 128;

export class VirtioBalloon implements VirtioDevice<NoState> {
  readonly type = VIRTIO_ID_BALLOON;
  readonly name = 'balloon';
  readonly features = [VIRTIO_BALLOON_F_REPORTING];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly checkState = noState;
  /** le32 num_pages, le32 actual: a balloon of no pages. */
  readonly config = new Uint8Array(8);
  #context: DeviceContext | undefined;
  #chain: DescriptorChain | undefined;

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#chain = new DescriptorChain(context.memory, QUEUE_SIZE);
  }

  kick(index: number): void {
    if (this.#context === undefined || this.#chain === undefined) return;
    const isReport = index === REPORTING_QUEUE && this.#context.hasFeature(VIRTIO_BALLOON_F_REPORTING);
    const serve = (chain: DescriptorChain, queue: Virtqueue) => {
      const bytes = isReport ? chain.writable.discard() : 0;
      queue.push(chain.head, 0);
      return bytes;
    };
    drain(this.#context, index, this.#chain, serve, () => this.kick(index));
  }

  reset(): void {
    this.#context = undefined;
    this.#chain = undefined;
  }

  save(): NoState {
    return {};
  }

  restore(): void {
    // The kicks for chains that the driver added during the save are lost.
    for (let index = 0; index < this.queueSizes.length; index++) this.kick(index);
  }

  [Symbol.dispose](): void {
    this.reset();
  }
}
