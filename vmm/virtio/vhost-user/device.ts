// The vhost-user transport (QEMU, docs/interop/vhost-user.rst), back-end side. Another VMM, the
// front-end, has the registers and the guest's memory, and a device here serves the queues. One
// connection serves one device, in the device thread. Messages are checked as strictly as the
// guest's data. An invalid message ends the connection and has no other effect.

import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import { activateDevice, queueOptions, type Transport } from '../activation.js';
import type { VirtioDevice } from '../device.js';
import { areOffered, type FeatureWords, featureWords, hasFeature } from '../features.js';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1, type Virtqueue } from '../queue.js';
import { SharedMemory } from './memory.js';
import * as vhost from './messages.js';
import { Ring, type RingEvent } from './ring.js';
import { VhostUserSocket } from './socket.js';

const { VhostUserError } = vhost;

const PROTOCOL_FEATURES = (1 << vhost.VHOST_USER_PROTOCOL_F_MQ) | (1 << vhost.VHOST_USER_PROTOCOL_F_REPLY_ACK);

export interface VhostUserOptions {
  loop: EventLoop;
  /**
   * Offers the front-end a channel for requests of the back-end, of which there are none: Linux'
   * virtio_uml has no interrupt without it.
   */
  hasBackendRequests?: boolean;
  /**
   * Makes a call again until the front-end reads it. User-Mode Linux is called over a socket, which
   * sends it a signal. A signal that comes between its last look for work and its sleep does not wake
   * it, as os_idle_sleep blocks the timer's signal alone (arch/um/os-Linux/time.c).
   */
  repeatsCalls?: boolean;
  /** The front-end sent SET_OWNER. */
  onOwned?: () => void;
  /** Called with the reason when the driver broke the rules of a queue, and the device stopped. */
  onFailure?: (reason: string) => void;
  /**
   * Called with the reason when the front-end broke the protocol and the connection was closed.
   */
  onBroken?: (reason: string) => void;
}

/**
 * The back-end of one device. Owns the connection and everything received over it, but not the
 * device.
 */
export class VhostUserBackend<State = unknown> implements Disposable {
  readonly device: VirtioDevice<State>;
  readonly #options: VhostUserOptions;
  readonly #socket: VhostUserSocket;
  readonly #offered: Readonly<FeatureWords>;
  #accepted: FeatureWords = [0, 0];
  readonly #offeredProtocol: number;
  #protocolFeatures = 0;
  readonly #rings: Ring[];
  #memory: SharedMemory | undefined;
  #backendRequests: number | undefined;
  /** The running device's queues by ring; empty while it does not run. */
  #queues: (Virtqueue | undefined)[] = [];
  #closed = false;

  /**
   * Serves `device` to the front-end that is connected to the socket `fd`. Takes ownership of `fd`.
   */
  constructor(device: VirtioDevice<State>, fd: number, options: VhostUserOptions) {
    this.device = device;
    this.#options = options;
    this.#socket = new VhostUserSocket(fd);
    this.#rings = device.queueSizes.map((size) => new Ring(options.loop, size, options.repeatsCalls === true));
    const own = [VIRTIO_F_VERSION_1, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, vhost.VHOST_USER_F_PROTOCOL_FEATURES];
    this.#offered = featureWords([...device.features, ...own]);
    const hasConfig = device.config.length > 0;
    this.#offeredProtocol =
      PROTOCOL_FEATURES |
      (hasConfig ? 1 << vhost.VHOST_USER_PROTOCOL_F_CONFIG : 0) |
      (options.hasBackendRequests === true ? 1 << vhost.VHOST_USER_PROTOCOL_F_BACKEND_REQ : 0);
    // One message per turn, so that a busy front-end does not starve other devices.
    options.loop.add(fd, libc.EPOLLIN, () => this.#guard(() => this.#receive()));
  }

  /** Runs `step`. Ends the connection if the front-end broke the protocol or is gone. */
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

  /** Handles a request. Returns the payload of the reply, if the request has one. */
  #handle(message: vhost.Message): Uint8Array | undefined {
    const { request, payload } = message;
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
          throw new VhostUserError('the front-end accepted protocol features that were not offered');
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
      case vhost.SET_BACKEND_REQ_FD:
        this.#closeBackendRequests();
        // The front-end takes the end of this channel for the end of the device.
        this.#backendRequests = message.fds.pop();
        return;
      case vhost.SET_VRING_KICK:
        return this.#setDescriptor('kick', message);
      case vhost.SET_VRING_CALL:
        return this.#setDescriptor('call', message);
      case vhost.SET_VRING_ERR:
        return this.#setDescriptor('error', message);
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
        // A front-end stops a ring with this request.
        ring.setDescriptor('kick');
        this.#update();
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
    if (this.#queues[index] !== undefined)
      throw new VhostUserError(`request ${request} changes ring ${index} while it runs`);
    switch (request) {
      case vhost.SET_VRING_NUM:
        // The protocol cannot report a largest size. An invalid size is refused when the ring
        // starts.
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

  #setDescriptor(event: RingEvent, { payload, fds }: vhost.Message): undefined {
    this.#ring(payload.getUint32(0, true) & vhost.VRING_INDEX_MASK).setDescriptor(event, fds.pop());
    this.#update();
  }

  #ring(index: number): Ring {
    const ring = this.#rings[index];
    if (ring === undefined) throw new VhostUserError(`the device has no ring ${index}`);
    return ring;
  }

  #setFeatures(payload: DataView): void {
    const features: FeatureWords = [payload.getUint32(0, true), payload.getUint32(4, true)];
    if (!areOffered(features, this.#offered))
      throw new VhostUserError('the front-end accepted features that were not offered');
    this.#stop();
    this.#accepted = features;
    this.#update();
  }

  #hasFeature(bit: number): boolean {
    return hasFeature(this.#accepted, bit);
  }

  /** The reply has the layout of the request. Bytes beyond the configuration space are 0. */
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
      throw new VhostUserError('a write goes beyond the configuration space');
    }
    this.device.writeConfig?.(offset, data);
  }

  #setMemory(memory: SharedMemory): void {
    const state = this.#stop();
    this.#memory?.[Symbol.dispose]();
    this.#memory = memory;
    this.#update(state);
  }

  #closeBackendRequests(): void {
    if (this.#backendRequests !== undefined) libc.close(this.#backendRequests);
    this.#backendRequests = undefined;
  }

  /** Host memory that the front-end's shared memory occupies, in bytes. */
  get residentMemory(): number {
    return this.#memory?.resident ?? 0;
  }

  /** Without protocol features, a ring is always enabled. */
  #isEnabled(ring: Ring): boolean {
    return ring.enabled || !this.#hasFeature(vhost.VHOST_USER_F_PROTOCOL_FEATURES);
  }

  /**
   * Starts the device with the rings that are set up, as soon as one of them is enabled. A device
   * takes all its queues at once, so it is restarted when another ring is set up.
   * @param state the device's state, if the device ran before
   */
  #update(state?: State): void {
    const ready = this.#rings.map((ring) => ring.isSetUp);
    if (this.#memory === undefined || !this.#rings.some((ring) => ring.isSetUp && this.#isEnabled(ring))) {
      this.#stop();
      return;
    }
    const running = this.#queues.length > 0;
    if (!running || ready.some((is, index) => is !== (this.#queues[index] !== undefined))) {
      const stopped = this.#stop() ?? state;
      this.#start(ready, this.#memory);
      if (stopped !== undefined) this.device.restore(stopped);
    }
    this.#rings.forEach((ring, index) => {
      if (this.#queues[index] === undefined || !this.#isEnabled(ring)) ring.unwatch();
      // The kick for chains that were added earlier may have been consumed already.
      else if (ring.watch(() => this.#guard(() => this.#kicked(index)))) this.device.kick(index);
    });
  }

  #start(ready: readonly boolean[], memory: SharedMemory): void {
    if (!this.#hasFeature(VIRTIO_F_VERSION_1)) throw new VhostUserError('the driver is older than virtio 1.0');
    const transport: Transport = {
      memory,
      loop: this.#options.loop,
      hasFeature: (bit) => this.#hasFeature(bit),
      interrupt: (index) => this.#rings[index]?.signal('call'),
      configChanged: () => {},
      fail: (reason) => this.#fail(reason),
    };
    const options = queueOptions(transport);
    this.#queues = this.#rings.map((ring, index) => (ready[index] ? ring.createQueue(memory, options) : undefined));
    activateDevice(this.device, transport, this.#queues);
  }

  #kicked(index: number): void {
    if (this.#rings[index]?.takeKicks()) this.device.kick(index);
  }

  /** Stops the device. Returns its state if it was running. */
  #stop(): State | undefined {
    if (this.#queues.length === 0) return undefined;
    const state = this.device.save();
    this.#rings.forEach((ring, index) => {
      const queue = this.#queues[index];
      if (queue === undefined) return;
      ring.base = queue.save().nextAvailable;
      queue.stop();
      ring.unwatch();
    });
    this.#queues = [];
    this.device.reset();
    return state;
  }

  /** The driver broke the rules. The device does nothing until the front-end restarts it. */
  #fail(reason: string): void {
    for (const queue of this.#queues) queue?.stop();
    for (const ring of this.#rings) ring.signal('error');
    this.#options.onFailure?.(`${this.device.name}: ${reason}`);
  }

  /** Ends the connection and resets the device. The device's owner disposes of it. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop();
    this.#options.loop.remove(this.#socket.fd);
    this.#socket[Symbol.dispose]();
    for (const ring of this.#rings) ring[Symbol.dispose]();
    this.#closeBackendRequests();
    this.#memory?.[Symbol.dispose]();
    this.#memory = undefined;
  }
}

function u64(low: number, high = 0): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, low, true);
  view.setUint32(4, high, true);
  return bytes;
}
