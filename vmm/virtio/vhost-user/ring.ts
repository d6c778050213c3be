// One ring as the vhost-user front-end set it up: addresses, position and eventfds.
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { Timer } from '../../host/timer.js';
import { Virtqueue, VirtqueueError, type VirtqueueOptions } from '../queue.js';
import type { SharedMemory } from './memory.js';
import { VhostUserError } from './messages.js';

/** No file descriptor. */
const NONE = -1;

/** A call that the front-end has not taken by then is made again. In milliseconds. */
const PATIENCE = 10;

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
  readonly #repeat: Timer | undefined;
  #isRepeatSet = false;

  /** @param repeatsCalls whether the front-end may miss a call (VhostUserOptions) */
  constructor(
    loop: EventLoop,
    public size: number,
    repeatsCalls: boolean,
  ) {
    this.#loop = loop;
    if (repeatsCalls) this.#repeat = new Timer(loop, () => this.#repeatCall());
  }

  /** True if the ring has everything that a device needs. */
  get isSetUp(): boolean {
    return this.addresses !== undefined && this.#fds.kick !== NONE;
  }

  /**
   * Takes ownership of a descriptor and closes the previous one. With undefined, the ring has no
   * descriptor from now on.
   */
  setDescriptor(event: RingEvent, fd = NONE): void {
    // A full eventfd, or another kind of file, must not block the device thread.
    if (fd !== NONE) libc.setNonBlocking(fd);
    if (event === 'kick') this.unwatch();
    if (this.#fds[event] !== NONE) libc.close(this.#fds[event]);
    this.#fds[event] = fd;
  }

  /** Signals used buffers, or a broken ring, to the front-end. */
  signal(event: 'call' | 'error'): void {
    if (this.#fds[event] === NONE) return;
    libc.signalEventFd(this.#fds[event]);
    if (event === 'error' || this.#repeat === undefined || this.#isRepeatSet) return;
    this.#repeat.set(PATIENCE);
    this.#isRepeatSet = true;
  }

  #repeatCall(): void {
    this.#isRepeatSet = false;
    if (this.#fds.call !== NONE && libc.isUnread(this.#fds.call)) this.signal('call');
  }

  /**
   * Calls `onKick` whenever the driver kicks. Returns false if the ring was watched already.
   * @throws VhostUserError for a descriptor that epoll does not support
   */
  watch(onKick: () => void): boolean {
    if (this.#watched) return false;
    try {
      this.#loop.add(this.#fds.kick, libc.EPOLLIN, onKick);
    } catch (cause) {
      throw new VhostUserError('cannot wait for a kick descriptor', { cause });
    }
    this.#watched = true;
    return true;
  }

  unwatch(): void {
    if (this.#watched) this.#loop.remove(this.#fds.kick);
    this.#watched = false;
  }

  /**
   * Consumes pending kicks. Returns false if there are none: a front-end consumes them itself
   * before it stops a ring.
   */
  takeKicks(): boolean {
    const count = libc.read(this.#fds.kick, this.#count, 8);
    if (count < 0 && libc.errno() === libc.EAGAIN) return false;
    // A readable file that is not an eventfd would stay readable for ever.
    if (count !== 8) throw new VhostUserError('a kick descriptor is not an eventfd');
    return true;
  }

  /** @throws VhostUserError if the ring's size, alignment or address is invalid */
  createQueue(memory: SharedMemory, options: VirtqueueOptions): Virtqueue {
    const translate = (address = 0) => {
      const guestAddress = memory.guestAddressOf(address, 1);
      if (guestAddress === undefined) throw new VhostUserError('a ring is outside guest memory');
      return guestAddress;
    };
    const layout = {
      size: this.size,
      descriptorTable: translate(this.addresses?.descriptorTable),
      availableRing: translate(this.addresses?.availableRing),
      usedRing: translate(this.addresses?.usedRing),
    };
    try {
      // Also checks that the rings end inside guest memory.
      const queue = new Virtqueue(layout, options);
      // A device never stops while it holds a chain, so the used ring is at the same index as the
      // available ring.
      queue.restore({ nextAvailable: this.base, nextUsed: this.base });
      return queue;
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      throw new VhostUserError(error.message);
    }
  }

  [Symbol.dispose](): void {
    this.#repeat?.[Symbol.dispose]();
    for (const event of ['kick', 'call', 'error'] as const) this.setDescriptor(event);
  }
}
