// The vhost-user transport (QEMU, docs/interop/vhost-user.rst), back-end side: a foreign VMM, the front-end, has the
// registers and the guest's memory, and a device of ours serves the queues. One connection, one device, in the device
// thread. What the front-end says is checked as what a guest says is: nonsense ends its connection, and nothing else.
import type { DeviceContext, VirtioDevice } from '../devices/device.js';
import type { EventLoop } from '../event-loop.js';
import * as libc from '../libc.js';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
  Virtqueue,
  VirtqueueError,
  type VirtqueueOptions,
} from './queue.js';
import { SharedMemory } from './vhost-user/memory.js';
import * as vhost from './vhost-user/messages.js';
import { VhostUserSocket } from './vhost-user/socket.js';

const { VhostUserError } = vhost;

const PROTOCOL_FEATURES = (1 << vhost.VHOST_USER_PROTOCOL_F_MQ) | (1 << vhost.VHOST_USER_PROTOCOL_F_REPLY_ACK);

/** No file descriptor. */
const NONE = -1;

export interface VhostUserOptions {
  loop: EventLoop;
  /** The front-end has taken the device over: SET_OWNER. */
  onOwned?: () => void;
  /** Hears why the device gave its queues up: the driver broke the rules of one. */
  onFailure?: (reason: string) => void;
  /** Hears why the connection was closed: the front-end did not keep to the protocol. */
  onBroken?: (reason: string) => void;
}

/** What the front-end said of a ring. */
interface Ring {
  size: number;
  /** Addresses of the three rings in the front-end's process. */
  addresses?: { descriptorTable: number; availableRing: number; usedRing: number };
  /** Index of the next chain that the device takes. */
  base: number;
  enabled: boolean;
  /** The event loop waits for kicks. */
  watched: boolean;
  kickFd: number;
  callFd: number;
  errFd: number;
}

/** A device as a front-end sees it. Owns the connection and what came over it, but not the device. */
export class VhostUserBackend implements Disposable {
  readonly device: VirtioDevice;
  readonly #options: VhostUserOptions;
  readonly #socket: VhostUserSocket;
  readonly #offered: readonly [number, number];
  readonly #accepted: [number, number] = [0, 0];
  readonly #offeredProtocol: number;
  #protocolFeatures = 0;
  readonly #rings: Ring[];
  #memory: SharedMemory | undefined;
  /** Those of the running device, by ring; empty while it does not run. */
  #queues: (Virtqueue | undefined)[] = [];
  readonly #count = new Uint8Array(8);
  #closed = false;

  /** Serves `device` to the front-end at the other end of the socket `fd`, which it takes over. */
  constructor(device: VirtioDevice, fd: number, options: VhostUserOptions) {
    this.device = device;
    this.#options = options;
    this.#socket = new VhostUserSocket(fd);
    this.#rings = device.queueSizes.map((size) => ({
      size,
      base: 0,
      enabled: false,
      watched: false,
      kickFd: NONE,
      callFd: NONE,
      errFd: NONE,
    }));
    const offered: [number, number] = [0, 0];
    const own = [VIRTIO_F_VERSION_1, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, vhost.VHOST_USER_F_PROTOCOL_FEATURES];
    for (const bit of [...device.features, ...own]) offered[bit >>> 5] = (offered[bit >>> 5] | (1 << (bit & 31))) >>> 0;
    this.#offered = offered;
    const hasConfig = device.config.length > 0;
    this.#offeredProtocol = PROTOCOL_FEATURES | (hasConfig ? 1 << vhost.VHOST_USER_PROTOCOL_F_CONFIG : 0);
    // One message a turn: a front-end that talks without end starves no other device.
    options.loop.add(fd, libc.EPOLLIN, () => this.#guard(() => this.#receive()));
  }

  /** A front-end's fault ends its connection, as its end does. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (error instanceof vhost.FrontEndGone) {
        this[Symbol.dispose]();
        return;
      }
      if (!(error instanceof VhostUserError)) throw error;
      const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
      this[Symbol.dispose]();
      this.#options.onBroken?.(`${this.device.name}: ${error.message}${cause}`);
    }
  }

  #receive(): void {
    const message = this.#socket.receive();
    if (message === undefined) return;
    try {
      vhost.checkMessage(message);
      const answer = this.#handle(message);
      const acknowledge =
        (message.flags & vhost.FLAG_NEED_REPLY) !== 0 &&
        (this.#protocolFeatures & (1 << vhost.VHOST_USER_PROTOCOL_F_REPLY_ACK)) !== 0;
      if (answer !== undefined) this.#socket.reply(message.request, answer);
      else if (acknowledge) this.#socket.reply(message.request, new Uint8Array(8));
    } finally {
      for (const fd of message.fds) libc.close(fd);
    }
  }

  /** Does what is asked; returns the answer of a request that has one. */
  #handle(message: vhost.Message): Uint8Array | undefined {
    const { request, payload, fds } = message;
    switch (request) {
      case vhost.GET_FEATURES:
        return u64(this.#offered[0], this.#offered[1]);
      case vhost.SET_FEATURES:
        this.#setFeatures(payload);
        return;
      case vhost.GET_PROTOCOL_FEATURES:
        return u64(this.#offeredProtocol);
      case vhost.SET_PROTOCOL_FEATURES:
        if ((payload.getUint32(0, true) & ~this.#offeredProtocol) !== 0 || payload.getUint32(4, true) !== 0) {
          throw new VhostUserError('protocol features that were not offered');
        }
        this.#protocolFeatures = payload.getUint32(0, true);
        return;
      case vhost.SET_OWNER:
        this.#options.onOwned?.();
        return;
      case vhost.RESET_OWNER:
        for (const ring of this.#rings) ring.enabled = false;
        this.#update();
        return;
      case vhost.GET_QUEUE_NUM:
        return u64(this.#rings.length);
      case vhost.GET_CONFIG:
        return this.#readConfig(payload);
      case vhost.SET_CONFIG:
        this.#writeConfig(payload);
        return;
      case vhost.SET_MEM_TABLE:
        this.#setMemory(SharedMemory.map(message));
        return;
      case vhost.SET_VRING_KICK:
      case vhost.SET_VRING_CALL:
      case vhost.SET_VRING_ERR: {
        const index = payload.getUint32(0, true) & vhost.VRING_INDEX_MASK;
        this.#setDescriptor(request, this.#ring(index), fds.pop() ?? NONE);
        return;
      }
      default:
        return this.#handleVring(request, payload);
    }
  }

  #handleVring(request: number, payload: DataView): Uint8Array | undefined {
    const index = payload.getUint32(0, true);
    const value = payload.getUint32(4, true);
    const ring = this.#ring(index);
    switch (request) {
      case vhost.GET_VRING_BASE: {
        // This is how a front-end stops a ring.
        this.#setDescriptor(vhost.SET_VRING_KICK, ring, NONE);
        const answer = new DataView(new ArrayBuffer(8));
        answer.setUint32(0, index, true);
        answer.setUint32(4, ring.base, true);
        return new Uint8Array(answer.buffer);
      }
      case vhost.SET_VRING_ENABLE:
        ring.enabled = value !== 0;
        this.#update();
        return;
    }
    if (this.#queues[index] !== undefined) throw new VhostUserError(`request ${request} for ring ${index}, which runs`);
    switch (request) {
      case vhost.SET_VRING_NUM:
        // The protocol has no way to tell a largest size; what is no size at all is refused when the ring starts.
        ring.size = value;
        return;
      case vhost.SET_VRING_BASE:
        ring.base = value & 0xffff;
        return;
      case vhost.SET_VRING_ADDR:
        ring.addresses = {
          descriptorTable: vhost.readU64(payload, 8),
          usedRing: vhost.readU64(payload, 16),
          availableRing: vhost.readU64(payload, 24),
        };
        this.#update();
    }
  }

  #ring(index: number): Ring {
    const ring = this.#rings[index];
    if (ring === undefined) throw new VhostUserError(`there is no ring ${index}`);
    return ring;
  }

  #setFeatures(payload: DataView): void {
    const features = [payload.getUint32(0, true), payload.getUint32(4, true)];
    if (features.some((bits, word) => (bits & ~this.#offered[word]) !== 0)) {
      throw new VhostUserError('features that were not offered');
    }
    this.#stop();
    [this.#accepted[0], this.#accepted[1]] = features;
    this.#update();
  }

  #hasFeature(bit: number): boolean {
    return ((this.#accepted[bit >>> 5] >>> (bit & 31)) & 1) !== 0;
  }

  /** The answer has the request's shape; bytes beyond the configuration space are 0. */
  #readConfig(payload: DataView): Uint8Array {
    const offset = payload.getUint32(0, true);
    const length = payload.getUint32(4, true);
    const answer = new Uint8Array(vhost.CONFIG_HEADER_SIZE + length);
    answer.set(new Uint8Array(payload.buffer, 0, vhost.CONFIG_HEADER_SIZE));
    answer.set(this.device.config.subarray(offset, offset + length), vhost.CONFIG_HEADER_SIZE);
    return answer;
  }

  #writeConfig(payload: DataView): void {
    const offset = payload.getUint32(0, true);
    const data = new Uint8Array(payload.buffer, vhost.CONFIG_HEADER_SIZE);
    if (offset + data.length > this.device.config.length) {
      throw new VhostUserError('a write beyond the configuration space');
    }
    this.device.writeConfig?.(offset, data);
  }

  #setMemory(memory: SharedMemory): void {
    this.#stop();
    this.#memory?.[Symbol.dispose]();
    this.#memory = memory;
    this.#update();
  }

  #setDescriptor(request: number, ring: Ring, fd: number): void {
    // An eventfd whose count is full, or that is no eventfd, must not keep the device thread waiting.
    if (fd !== NONE) libc.fcntl(fd, libc.F_SETFL, libc.O_RDWR | libc.O_NONBLOCK);
    if (request === vhost.SET_VRING_KICK) {
      this.#unwatch(ring);
      closeFd(ring.kickFd);
      ring.kickFd = fd;
      this.#update();
    } else if (request === vhost.SET_VRING_CALL) {
      closeFd(ring.callFd);
      ring.callFd = fd;
    } else {
      closeFd(ring.errFd);
      ring.errFd = fd;
    }
  }

  /** Without protocol features a ring is enabled from the start. */
  #isEnabled(ring: Ring): boolean {
    return ring.enabled || !this.#hasFeature(vhost.VHOST_USER_F_PROTOCOL_FEATURES);
  }

  /**
   * Runs the device with the rings that have addresses and a kick, as soon as one of them is enabled. When another
   * ring joins a device that runs, it is started anew: devices take all their queues at once.
   */
  #update(): void {
    const ready = this.#rings.map((ring) => ring.addresses !== undefined && ring.kickFd !== NONE);
    const enabled = this.#rings.some((ring, index) => ready[index] && this.#isEnabled(ring));
    if (this.#memory === undefined || !enabled) {
      this.#stop();
      return;
    }
    const running = this.#queues.length > 0;
    if (!running || ready.some((is, index) => is !== (this.#queues[index] !== undefined))) {
      this.#stop();
      this.#start(ready, this.#memory);
    }
    this.#rings.forEach((ring, index) => {
      if (this.#queues[index] === undefined || !this.#isEnabled(ring)) this.#unwatch(ring);
      else this.#watch(ring, index);
    });
  }

  #start(ready: readonly boolean[], memory: SharedMemory): void {
    if (!this.#hasFeature(VIRTIO_F_VERSION_1)) throw new VhostUserError('a driver older than virtio 1.0');
    const fail = (reason: string) => this.#fail(reason);
    const options = {
      memory,
      eventIndex: this.#hasFeature(VIRTIO_F_EVENT_IDX),
      indirect: this.#hasFeature(VIRTIO_F_INDIRECT_DESC),
      fail,
    };
    this.#queues = this.#rings.map((ring, index) => {
      if (!ready[index]) return undefined;
      const queue = createQueue(ring, memory, options);
      // No device stops with a chain in hand, so the used ring is as far as the available ring.
      queue.restore({ nextAvailable: ring.base, nextUsed: ring.base });
      return queue;
    });
    const context: DeviceContext = {
      memory,
      loop: this.#options.loop,
      queues: this.#queues,
      hasFeature: (bit) => this.#hasFeature(bit),
      notify: (index) => {
        const { callFd } = this.#rings[index];
        if (this.#queues[index]?.needsNotification() && callFd !== NONE) libc.signalEventFd(callFd);
      },
      configChanged: () => {},
      fail,
    };
    this.device.activate(context);
  }

  #watch(ring: Ring, index: number): void {
    if (ring.watched) return;
    try {
      this.#options.loop.add(ring.kickFd, libc.EPOLLIN, () => this.#guard(() => this.#kicked(ring, index)));
    } catch (cause) {
      throw new VhostUserError('a kick descriptor that cannot be waited for', { cause });
    }
    ring.watched = true;
    // Of chains that were added before, the kick may have been used up.
    this.device.kick(index);
  }

  #unwatch(ring: Ring): void {
    if (ring.watched) this.#options.loop.remove(ring.kickFd);
    ring.watched = false;
  }

  #kicked(ring: Ring, index: number): void {
    const count = libc.read(ring.kickFd, this.#count, 8);
    // The front-end reads kicks too, before it stops a ring.
    if (count < 0 && libc.errno() === libc.EAGAIN) return;
    // What can be read and gives no count would be readable for ever.
    if (count !== 8) throw new VhostUserError('a kick descriptor that is no eventfd');
    this.device.kick(index);
  }

  #stop(): void {
    if (this.#queues.length === 0) return;
    this.#queues.forEach((queue, index) => {
      if (queue === undefined) return;
      this.#rings[index].base = queue.save().nextAvailable;
      queue.stop();
      this.#unwatch(this.#rings[index]);
    });
    this.#queues = [];
    this.device.reset();
  }

  /** The driver broke the rules: the device does nothing more until the front-end starts it anew. */
  #fail(reason: string): void {
    for (const queue of this.#queues) queue?.stop();
    for (const { errFd } of this.#rings) if (errFd !== NONE) libc.signalEventFd(errFd);
    this.#options.onFailure?.(`${this.device.name}: ${reason}`);
  }

  /** Ends the connection. The device is reset, and its owner's to dispose of. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop();
    this.#options.loop.remove(this.#socket.fd);
    this.#socket[Symbol.dispose]();
    for (const { kickFd, callFd, errFd } of this.#rings) for (const fd of [kickFd, callFd, errFd]) closeFd(fd);
    this.#memory?.[Symbol.dispose]();
  }
}

/** @throws VhostUserError for a ring that cannot be. */
function createQueue(ring: Ring, memory: SharedMemory, options: VirtqueueOptions): Virtqueue {
  const { size, addresses } = ring;
  const translate = (address: number) => {
    const guestAddress = memory.guestAddressOf(address, 1);
    if (guestAddress === undefined) throw new VhostUserError('a ring outside guest memory');
    return guestAddress;
  };
  try {
    const layout = {
      size,
      descriptorTable: translate(addresses!.descriptorTable),
      availableRing: translate(addresses!.availableRing),
      usedRing: translate(addresses!.usedRing),
    };
    // Checks that the rings end in guest memory too.
    return new Virtqueue(layout, options);
  } catch (error) {
    if (!(error instanceof VirtqueueError)) throw error;
    throw new VhostUserError(error.message);
  }
}

function closeFd(fd: number): void {
  if (fd !== NONE) libc.close(fd);
}

function u64(low: number, high = 0): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, low, true);
  view.setUint32(4, high, true);
  return bytes;
}
