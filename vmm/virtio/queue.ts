// The split virtqueue, the device's side (virtio 1.2, 2.7 "Split Virtqueues"), with indirect
// descriptors and event index. The rings are guest memory: each value is read once, checked, and
// only then used. When the driver breaks the rules, the queue calls `fail` with the reason and is
// empty from then on. Ring indexes are masked or checked against the queue's size, so typed-array
// reads of the rings are always in bounds.
import type { GuestMemory } from '../host/memory.js';
import { record, u16 } from '../saved-state.js';
import { BufferList } from './buffers.js';

// Feature bits of transport and ring (virtio 1.2, 6 "Reserved Feature Bits").
export const VIRTIO_F_INDIRECT_DESC = 28;
export const VIRTIO_F_EVENT_IDX = 29;
export const VIRTIO_F_VERSION_1 = 32;

/** Largest queue size (virtio 1.2, 2.7). */
const MAX_QUEUE_SIZE = 32768;

// Descriptor flags (virtio 1.2, 2.7.5).
const VIRTQ_DESC_F_NEXT = 1;
const VIRTQ_DESC_F_WRITE = 2;
const VIRTQ_DESC_F_INDIRECT = 4;
/** `struct virtq_desc` in bytes: u64 address, u32 length, u16 flags, u16 next. */
const DESCRIPTOR_SIZE = 16;

// Ring flags (virtio 1.2, 2.7.6 and 2.7.8).
const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
const VIRTQ_USED_F_NO_NOTIFY = 1;

// `struct virtq_avail` and `struct virtq_used` in 16-bit words: flags, idx, ring.
const RING_FLAGS = 0;
const RING_INDEX = 1;
const RING_START = 2;

/** The size, alignment or address of a queue's rings is not valid. */
export class VirtqueueError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'VirtqueueError';
  }
}

/** The size of a queue and the guest addresses of its three rings (virtio 1.2, 2.7). */
export interface VirtqueueLayout {
  size: number;
  descriptorTable: number;
  availableRing: number;
  usedRing: number;
}

export interface VirtqueueOptions {
  memory: GuestMemory;
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  eventIndex: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  indirect: boolean;
  /** Called once, with the reason, when the driver breaks the rules of the queue. */
  fail: (reason: string) => void;
}

/** The part of a queue's state that is not in guest memory. Plain JSON. */
export interface VirtqueueState {
  nextAvailable: number;
  nextUsed: number;
}

export const checkVirtqueueState = record<VirtqueueState>({ nextAvailable: u16, nextUsed: u16 });

/**
 * A request: first the buffers that the device reads, then those that it writes (virtio 1.2,
 * 2.7.4.2).
 */
export class DescriptorChain {
  /** Index of the first descriptor. {@link Virtqueue.push} takes it. */
  head = 0;
  readonly readable: BufferList;
  readonly writable: BufferList;

  /**
   * @param capacity the largest number of buffers in one direction; a longer chain breaks the queue
   */
  constructor(memory: GuestMemory, capacity: number) {
    this.readable = new BufferList(memory, capacity);
    this.writable = new BufferList(memory, capacity);
  }
}

export class Virtqueue {
  readonly size: number;
  readonly #memory: GuestMemory;
  readonly #eventIndex: boolean;
  readonly #indirect: boolean;
  readonly #fail: (reason: string) => void;
  readonly #descriptors: Uint32Array;
  readonly #available: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElements: Uint32Array;
  /** Index of `used_event` in the available ring, and of `avail_event` in the used ring. */
  readonly #usedEvent: number;
  readonly #availEvent: number;
  #nextAvailable = 0;
  #nextUsed = 0;
  /** The value of #nextUsed at the last notification. */
  #notifiedUsed = 0;
  #stopped = false;

  /**
   * @throws VirtqueueError if virtio 1.2, 2.7 does not allow the size, alignment or address of a
   * ring
   */
  constructor(layout: VirtqueueLayout, { memory, eventIndex, indirect, fail }: VirtqueueOptions) {
    const { size } = layout;
    if (!(size > 0 && size <= MAX_QUEUE_SIZE && (size & (size - 1)) === 0)) {
      throw new VirtqueueError(`queue size ${size} is not a power of two up to ${MAX_QUEUE_SIZE}`);
    }
    this.size = size;
    this.#memory = memory;
    this.#eventIndex = eventIndex;
    this.#indirect = indirect;
    this.#fail = fail;
    const ring = (name: string, address: number, length: number, alignment: number): [ArrayBuffer, number] => {
      const window = memory.window(address, length);
      if (window === undefined)
        throw new VirtqueueError(`${name} at 0x${address.toString(16)} is outside guest memory`);
      const offset = address - window.guestAddress;
      if (address % alignment !== 0 || offset % alignment !== 0) {
        throw new VirtqueueError(`${name} at 0x${address.toString(16)} is not aligned to ${alignment} bytes`);
      }
      return [window.buffer, offset];
    };
    const [descriptors, descriptorsAt] = ring('descriptor table', layout.descriptorTable, size * DESCRIPTOR_SIZE, 16);
    const [available, availableAt] = ring('available ring', layout.availableRing, 6 + size * 2, 2);
    const [used, usedAt] = ring('used ring', layout.usedRing, 6 + size * 8, 4);
    this.#descriptors = new Uint32Array(descriptors, descriptorsAt, size * 4);
    this.#available = new Uint16Array(available, availableAt, 3 + size);
    this.#used = new Uint16Array(used, usedAt, 3 + size * 4);
    this.#usedElements = new Uint32Array(used, usedAt + 4, size * 2);
    this.#usedEvent = RING_START + size;
    this.#availEvent = RING_START + size * 4;
  }

  /**
   * Makes the queue permanently empty: the device failed, or the driver disabled the queue. Pushed
   * chains are dropped.
   */
  stop(): void {
    this.#stopped = true;
  }

  #broken(reason: string): false {
    this.#stopped = true;
    this.#fail(reason);
    return false;
  }

  /**
   * Takes the next available chain. Returns false if there is none, or if the driver broke the
   * queue.
   */
  pop(chain: DescriptorChain): boolean {
    if (this.#stopped) return false;
    const pending = (Atomics.load(this.#available, RING_INDEX) - this.#nextAvailable) & 0xffff;
    if (pending === 0) return false;
    if (pending > this.size) return this.#broken(`the available index is ${pending} ahead in a queue of ${this.size}`);
    const head = this.#available[RING_START + (this.#nextAvailable & (this.size - 1))]!;
    if (!this.#walk(chain, head)) return false;
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff;
    return true;
  }

  /**
   * Returns the last `count` popped chains to the available ring. None of them may have been
   * pushed.
   */
  unpop(count: number): void {
    this.#nextAvailable = (this.#nextAvailable - count) & 0xffff;
  }

  #walk(chain: DescriptorChain, head: number): boolean {
    chain.head = head;
    chain.readable.clear();
    chain.writable.clear();
    let index = head;
    // Each step takes one descriptor, so a chain with more steps than descriptors has a loop.
    for (let steps = 0; steps < this.size; steps++) {
      if (index >= this.size) return this.#broken(`descriptor ${index} is beyond the queue size ${this.size}`);
      const word = index * 4;
      const address = this.#descriptors[word]! + this.#descriptors[word + 1]! * 2 ** 32;
      const length = this.#descriptors[word + 2]!;
      const flagsAndNext = this.#descriptors[word + 3]!;
      const flags = flagsAndNext & 0xffff;
      if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0) {
        if ((flags & VIRTQ_DESC_F_NEXT) !== 0) return this.#broken('an indirect descriptor has a next descriptor');
        return this.#walkIndirect(chain, address, length);
      }
      if (!this.#add(chain, address, length, flags)) return false;
      if ((flags & VIRTQ_DESC_F_NEXT) === 0) return true;
      index = flagsAndNext >>> 16;
    }
    return this.#broken('a descriptor chain has a loop');
  }

  #walkIndirect(chain: DescriptorChain, table: number, tableLength: number): boolean {
    if (!this.#indirect) return this.#broken('indirect descriptors were not negotiated');
    const count = tableLength / DESCRIPTOR_SIZE;
    if (count < 1 || !Number.isInteger(count))
      return this.#broken(`an indirect table has an invalid length of ${tableLength} bytes`);
    const window = this.#memory.window(table, tableLength);
    if (window === undefined) return this.#broken(`indirect table at 0x${table.toString(16)} is outside guest memory`);
    const start = table - window.guestAddress;
    const { view } = window;
    const limit = Math.min(count, chain.readable.capacity + chain.writable.capacity);
    let index = 0;
    for (let steps = 0; steps < limit; steps++) {
      if (index >= count) return this.#broken(`descriptor ${index} is beyond the indirect table of ${count}`);
      const at = start + index * DESCRIPTOR_SIZE;
      const address = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
      const length = view.getUint32(at + 8, true);
      const flagsAndNext = view.getUint32(at + 12, true);
      const flags = flagsAndNext & 0xffff;
      if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0)
        return this.#broken('an indirect table contains an indirect descriptor');
      if (!this.#add(chain, address, length, flags)) return false;
      if ((flags & VIRTQ_DESC_F_NEXT) === 0) return true;
      index = flagsAndNext >>> 16;
    }
    return this.#broken('an indirect descriptor chain has a loop or too many descriptors');
  }

  #add(chain: DescriptorChain, address: number, length: number, flags: number): boolean {
    const writable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
    if (!writable && chain.writable.count > 0) return this.#broken('a readable descriptor follows a writable one');
    const list = writable ? chain.writable : chain.readable;
    if (!list.add(address, length)) {
      const where = `0x${address.toString(16)} + ${length}`;
      return this.#broken(
        list.count === list.capacity
          ? `a descriptor chain has more than ${list.capacity} buffers`
          : `descriptor at ${where} is outside guest memory`,
      );
    }
    // virtio 1.2, 2.7.5: a chain is at most 2^32 bytes long.
    if (chain.readable.length + chain.writable.length > 2 ** 32) {
      return this.#broken('a descriptor chain has more than 2^32 bytes');
    }
    return true;
  }

  /**
   * Returns the chain `head` to the driver. The device wrote the first `written` of its writable
   * bytes.
   */
  push(head: number, written: number): void {
    this.stage(head, written);
    this.publish();
  }

  /**
   * Like {@link push}, but invisible to the driver until {@link publish}: for data that spans
   * several chains.
   */
  stage(head: number, written: number): void {
    if (this.#stopped) return;
    const element = (this.#nextUsed & (this.size - 1)) * 2;
    this.#usedElements[element] = head;
    this.#usedElements[element + 1] = written;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
  }

  /** Undoes the last `count` calls of {@link stage}. */
  unstage(count: number): void {
    this.#nextUsed = (this.#nextUsed - count) & 0xffff;
  }

  /** Makes all staged chains visible to the driver. */
  publish(): void {
    if (this.#stopped) return;
    // Sequentially consistent: the element is visible before the index, and the index before
    // needsNotification reads.
    Atomics.store(this.#used, RING_INDEX, this.#nextUsed);
  }

  /**
   * Returns true if the driver wants an interrupt for the chains pushed since the last call (virtio
   * 1.2, 2.7.7). Each transport's `notify` calls this.
   */
  needsNotification(): boolean {
    const before = this.#notifiedUsed;
    const fresh = (this.#nextUsed - before) & 0xffff;
    if (this.#stopped || fresh === 0) return false;
    this.#notifiedUsed = this.#nextUsed;
    if (!this.#eventIndex) return (Atomics.load(this.#available, RING_FLAGS) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    const event = Atomics.load(this.#available, this.#usedEvent);
    return ((this.#nextUsed - event - 1) & 0xffff) < fresh;
  }

  /**
   * Asks the driver not to kick while the device is reading the queue anyway (virtio 1.2, 2.7.10).
   */
  disableKicks(): void {
    // With event index, the driver kicks when it passes avail_event, which does not move until
    // enableKicks.
    if (!this.#stopped && !this.#eventIndex) this.#used[RING_FLAGS] = VIRTQ_USED_F_NO_NOTIFY;
  }

  /**
   * Asks the driver to kick when it adds a chain. Returns true if chains are already available: the
   * driver may have added them without a kick, so the device must look again.
   */
  enableKicks(): boolean {
    if (this.#stopped) return false;
    // Sequentially consistent: the request is visible before the index is read again.
    if (this.#eventIndex) Atomics.store(this.#used, this.#availEvent, this.#nextAvailable);
    else Atomics.store(this.#used, RING_FLAGS, 0);
    return Atomics.load(this.#available, RING_INDEX) !== this.#nextAvailable;
  }

  save(): VirtqueueState {
    return { nextAvailable: this.#nextAvailable, nextUsed: this.#nextUsed };
  }

  /** Continues from a saved state. Called on a new queue. */
  restore(state: VirtqueueState): void {
    this.#nextAvailable = state.nextAvailable;
    this.#nextUsed = state.nextUsed;
    this.#notifiedUsed = this.#nextUsed;
  }
}
