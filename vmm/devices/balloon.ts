// The memory balloon device (virtio 1.2, 5.5 "Traditional Memory Balloon Device"): memory that the guest does without goes
// back to the host. Pages in the balloon do until the driver takes them out, by its own choice when it has no others;
// free pages that it reports do until it uses them, which it need not say.
import type { GuestMemory } from '../memory.js';
import { PAGE_SIZE } from '../memory.js';
import { DescriptorChain, type Virtqueue } from '../virtio/queue.js';
import type { DeviceContext, DeviceState, VirtioDevice } from './device.js';
import { drain } from './drain.js';

const VIRTIO_ID_BALLOON = 5;

// Feature bits (virtio 1.2, 5.5.3).
export const VIRTIO_BALLOON_F_STATS_VQ = 1;
const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 2;
export const VIRTIO_BALLOON_F_REPORTING = 5;

const INFLATE_QUEUE = 0;
const DEFLATE_QUEUE = 1;
const QUEUE_SIZE = 128;

/** Offsets in the configuration space: le32 num_pages, le32 actual. */
const CONFIG_NUM_PAGES = 0;
const CONFIG_ACTUAL = 4;

/** A page's number, le32: pages are 4096 bytes, whatever the guest's are. */
const NUMBER_SIZE = 4;
/** Linux sends 256 at a time. */
const MAX_NUMBERS = 1024;

/** `struct virtio_balloon_stat`: le16 tag, le64 value. */
const STAT_SIZE = 10;
const MAX_STATS = 64;

/** What the guest says of its memory, bytes, by tag (virtio 1.2, 5.5.6.3). */
const STATS = { free: 4, total: 5, available: 6, caches: 7 } as const;
export type GuestMemoryStats = Partial<Record<keyof typeof STATS, number>>;

export class VirtioBalloon implements VirtioDevice {
  readonly type = VIRTIO_ID_BALLOON;
  readonly name = 'balloon';
  readonly features = [VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_BALLOON_F_DEFLATE_ON_OOM, VIRTIO_BALLOON_F_REPORTING];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly config = new Uint8Array(8);
  readonly #configView = new DataView(this.config.buffer);
  readonly #numbers = new Uint8Array(MAX_NUMBERS * NUMBER_SIZE);
  readonly #numbersView = new DataView(this.#numbers.buffer);
  readonly #statBytes = new Uint8Array(MAX_STATS * STAT_SIZE);
  readonly #statView = new DataView(this.#statBytes.buffer);
  readonly #stats: GuestMemoryStats = {};
  #context: DeviceContext | undefined;
  #chain: DescriptorChain | undefined;
  /** The queues behind the first two are there as the driver accepted their features. */
  #statsQueue = -1;
  #reportingQueue = -1;
  /** The buffer that the driver fills with new statistics when it gets it back. */
  #statsHead: number | undefined;

  /** What the guest last said. To be said by `requestStats` first, and then at most once each time that it is called. */
  get stats(): Readonly<GuestMemoryStats> {
    return this.#stats;
  }

  /** Bytes in the balloon, as the driver says. */
  get size(): number {
    return this.#configView.getUint32(CONFIG_ACTUAL, true) * PAGE_SIZE;
  }

  /** Asks the driver for a balloon of `bytes`, in whole pages; it comes as near as it can, in its own time. */
  inflateTo(bytes: number): void {
    this.#configView.setUint32(CONFIG_NUM_PAGES, Math.min(Math.floor(bytes / PAGE_SIZE), 2 ** 32 - 1), true);
    this.#context?.configChanged();
  }

  /** Asks the driver for new statistics (virtio 1.2, 5.5.6.3): it gives its buffer back with them. */
  requestStats(): void {
    const queue = this.#context?.queues[this.#statsQueue];
    if (queue === undefined || this.#statsHead === undefined) return;
    queue.push(this.#statsHead, 0);
    this.#statsHead = undefined;
    this.#context?.notify(this.#statsQueue);
    // One that it had given beside.
    this.#takeStats();
  }

  /** The driver says how large the balloon is (virtio 1.2, 5.5.6.1). */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset === CONFIG_ACTUAL && data.length === 4) this.config.set(data, CONFIG_ACTUAL);
  }

  activate(context: DeviceContext): void {
    this.#context = context;
    this.#chain = new DescriptorChain(context.memory, QUEUE_SIZE);
    let next = DEFLATE_QUEUE + 1;
    this.#statsQueue = context.hasFeature(VIRTIO_BALLOON_F_STATS_VQ) ? next++ : -1;
    this.#reportingQueue = context.hasFeature(VIRTIO_BALLOON_F_REPORTING) ? next : -1;
  }

  kick(index: number): void {
    if (this.#context === undefined || this.#chain === undefined) return;
    if (index === this.#statsQueue) {
      this.#takeStats();
      return;
    }
    const { memory } = this.#context;
    const serve = (chain: DescriptorChain, queue: Virtqueue) => {
      let bytes = 0;
      if (index === INFLATE_QUEUE) bytes = this.#inflate(chain, memory);
      else if (index === this.#reportingQueue) bytes = chain.writable.discard();
      queue.push(chain.head, 0);
      return bytes;
    };
    drain(this.#context, index, this.#chain, serve, () => this.kick(index));
  }

  /** Gives the pages back that a chain has the numbers of, in runs; returns their bytes. Others than the guest's: none. */
  #inflate({ readable }: DescriptorChain, memory: GuestMemory): number {
    const length = Math.min(readable.length, this.#numbers.length);
    const count = Math.floor(readable.read(0, this.#numbers.subarray(0, length)) / NUMBER_SIZE);
    const number = (at: number) => this.#numbersView.getUint32(at * NUMBER_SIZE, true);
    for (let start = 0; start < count; ) {
      let end = start + 1;
      // Linux takes free pages as they come: often one below the other.
      while (end < count && number(end) === number(end - 1) + 1) end++;
      if (end === start + 1) while (end < count && number(end) === number(end - 1) - 1) end++;
      const lowest = Math.min(number(start), number(end - 1));
      memory.discard(lowest * PAGE_SIZE, (end - start) * PAGE_SIZE);
      start = end;
    }
    return count * PAGE_SIZE;
  }

  /** Reads the driver's statistics and keeps their buffer. One at a time: there is to be no more than one. */
  #takeStats(): void {
    const queue = this.#context?.queues[this.#statsQueue];
    if (queue === undefined || this.#chain === undefined || this.#statsHead !== undefined) return;
    if (queue.pop(this.#chain)) {
      this.#statsHead = this.#chain.head;
      const length = this.#chain.readable.read(0, this.#statBytes);
      for (let at = 0; at + STAT_SIZE <= length; at += STAT_SIZE) this.#readStat(at);
    }
    queue.enableKicks();
  }

  #readStat(at: number): void {
    const tag = this.#statView.getUint16(at, true);
    const value = this.#statView.getUint32(at + 2, true) + this.#statView.getUint32(at + 6, true) * 2 ** 32;
    for (const [name, known] of Object.entries(STATS)) {
      if (tag === known) this.#stats[name as keyof typeof STATS] = value;
    }
  }

  reset(): void {
    this.#context = undefined;
    this.#chain = undefined;
    this.#statsHead = undefined;
    this.#configView.setUint32(CONFIG_ACTUAL, 0, true);
  }

  save(): DeviceState {
    return { config: [...this.config], statsHead: this.#statsHead, stats: { ...this.#stats } };
  }

  restore(state: DeviceState): void {
    const { config, statsHead, stats } = state as { config: number[]; statsHead?: number; stats: GuestMemoryStats };
    this.config.set(config.slice(0, this.config.length));
    this.#statsHead = statsHead;
    Object.assign(this.#stats, stats);
    // Chains that the driver added while the machine was being saved have no kick of their own any more.
    for (let index = 0; index < this.queueSizes.length; index++) this.kick(index);
  }

  [Symbol.dispose](): void {
    this.reset();
  }
}
