// What a vhost-user front-end has told of a ring: where it is, how far it is, and its eventfds.
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { Virtqueue, VirtqueueError, type VirtqueueOptions } from '../queue.js';
import type { SharedMemory } from './memory.js';
import { VhostUserError } from './messages.js';

/** No file descriptor. */
const NONE = -1;

export type RingEvent = 'kick' | 'call' | 'error';

/** Owns the ring's descriptors. */
export class Ring implements Disposable {
  /** Addresses of the three rings in the front-end's process. */
  addresses?: { descriptorTable: number; availableRing: number; usedRing: number };
  /** Index of the next chain that the device takes. */
  base = 0;
  enabled = false;
  readonly #loop: EventLoop;
  readonly #fds: Record<RingEvent, number> = { kick: NONE, call: NONE, error: NONE };
  readonly #count = new Uint8Array(8);
  #watched = false;

  constructor(
    loop: EventLoop,
    public size: number,
  ) {
    this.#loop = loop;
  }

  /** Whether there is all that a device needs of it. */
  get isSetUp(): boolean {
    return this.addresses !== undefined && this.#fds.kick !== NONE;
  }

  /** Takes a descriptor over in the place of the one there was; undefined: there is none from now on. */
  setDescriptor(event: RingEvent, fd = NONE): void {
    // An eventfd whose count is full, or that is no eventfd, must not keep the device thread waiting.
    if (fd !== NONE) libc.fcntl(fd, libc.F_SETFL, libc.O_RDWR | libc.O_NONBLOCK);
    if (event === 'kick') this.unwatch();
    if (this.#fds[event] !== NONE) libc.close(this.#fds[event]);
    this.#fds[event] = fd;
  }

  /** Tells the front-end of used buffers, or that the ring is broken. */
  signal(event: 'call' | 'error'): void {
    if (this.#fds[event] !== NONE) libc.signalEventFd(this.#fds[event]);
  }

  /**
   * Calls `onKick` whenever the driver kicks; false if it does so already.
   * @throws VhostUserError for a descriptor that can't be waited for.
   */
  watch(onKick: () => void): boolean {
    if (this.#watched) return false;
    try {
      this.#loop.add(this.#fds.kick, libc.EPOLLIN, onKick);
    } catch (cause) {
      throw new VhostUserError('a kick descriptor that cannot be waited for', { cause });
    }
    this.#watched = true;
    return true;
  }

  unwatch(): void {
    if (this.#watched) this.#loop.remove(this.#fds.kick);
    this.#watched = false;
  }

  /** Takes the kicks; false if there are none: the front-end reads them too, before it stops a ring. */
  takeKicks(): boolean {
    const count = libc.read(this.#fds.kick, this.#count, 8);
    if (count < 0 && libc.errno() === libc.EAGAIN) return false;
    // What can be read and gives no count would be readable for ever.
    if (count !== 8) throw new VhostUserError('a kick descriptor that is no eventfd');
    return true;
  }

  /** @throws VhostUserError for a ring that cannot be. */
  createQueue(memory: SharedMemory, options: VirtqueueOptions): Virtqueue {
    const translate = (address = 0) => {
      const guestAddress = memory.guestAddressOf(address, 1);
      if (guestAddress === undefined) throw new VhostUserError('a ring outside guest memory');
      return guestAddress;
    };
    const layout = {
      size: this.size,
      descriptorTable: translate(this.addresses?.descriptorTable),
      availableRing: translate(this.addresses?.availableRing),
      usedRing: translate(this.addresses?.usedRing),
    };
    try {
      // Checks that the rings end in guest memory too.
      const queue = new Virtqueue(layout, options);
      // No device stops with a chain in hand, so the used ring is as far as the available ring.
      queue.restore({ nextAvailable: this.base, nextUsed: this.base });
      return queue;
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      throw new VhostUserError(error.message);
    }
  }

  [Symbol.dispose](): void {
    for (const event of ['kick', 'call', 'error'] as const) this.setDescriptor(event);
  }
}
