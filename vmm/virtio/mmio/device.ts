// The virtio-mmio transport (virtio 1.2, 4.2 "Virtio Over MMIO"), version 2 registers only. It lives in the device
// thread; a vCPU thread may answer InterruptStatus and InterruptACK by itself from the shared status word.

import type { EventLoop } from '../../host/event-loop.js';
import type { GuestMemory } from '../../host/memory.js';
import type { DeviceContext, DeviceState, VirtioDevice } from '../device.js';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
  Virtqueue,
  VirtqueueError,
  type VirtqueueLayout,
  type VirtqueueState,
} from '../queue.js';
import {
  CONFIG,
  CONFIG_GENERATION,
  DEVICE_FEATURES,
  DEVICE_FEATURES_SEL,
  DEVICE_ID,
  DRIVER_FEATURES,
  DRIVER_FEATURES_SEL,
  INTERRUPT_ACK,
  INTERRUPT_CONFIG_CHANGE,
  INTERRUPT_STATUS,
  INTERRUPT_USED_BUFFER,
  MAGIC,
  MAGIC_VALUE,
  MMIO_VERSION,
  QUEUE_DESC_HIGH,
  QUEUE_DESC_LOW,
  QUEUE_DEVICE_HIGH,
  QUEUE_DEVICE_LOW,
  QUEUE_DRIVER_HIGH,
  QUEUE_DRIVER_LOW,
  QUEUE_NOTIFY,
  QUEUE_NUM,
  QUEUE_NUM_MAX,
  QUEUE_READY,
  QUEUE_SEL,
  SHM_BASE_HIGH,
  SHM_BASE_LOW,
  SHM_LEN_HIGH,
  SHM_LEN_LOW,
  STATUS,
  STATUS_DEVICE_NEEDS_RESET,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
  STATUS_OF_DRIVER,
  VENDOR,
  VENDOR_ID,
  VERSION,
} from './registers.js';

export interface VirtioMmioOptions {
  memory: GuestMemory;
  loop: EventLoop;
  /** InterruptStatus: one element over a SharedArrayBuffer. Bits are set here; whoever serves InterruptACK clears them. */
  interruptStatus: Int32Array;
  /** Raises the device's interrupt, an edge: writes the irqfd's eventfd. */
  raiseInterrupt: () => void;
  /** Hears, once per reset, why the device set DEVICE_NEEDS_RESET. */
  onFailure?: (reason: string) => void;
}

interface QueueRegisters extends VirtqueueLayout {
  ready: boolean;
}

/** State of the transport and its device: plain JSON. */
export interface VirtioMmioState {
  status: number;
  driverFeatures: [low: number, high: number];
  queues: (QueueRegisters & { ring?: VirtqueueState })[];
  selectors: { deviceFeatures: number; driverFeatures: number; queue: number };
  interruptStatus: number;
  configGeneration: number;
  device: DeviceState;
}

function withLow(address: number, low: number): number {
  return Math.floor(address / 2 ** 32) * 2 ** 32 + low;
}

function withHigh(address: number, high: number): number {
  return high * 2 ** 32 + (address % 2 ** 32);
}

/** One device on the bus: 4 KiB of registers, a kick for each queue, one interrupt. */
export class VirtioMmio {
  readonly device: VirtioDevice;
  readonly #options: VirtioMmioOptions;
  /** Feature bits offered, and those the driver accepted: low and high 32 bits. */
  readonly #offered: [number, number] = [0, 0];
  readonly #accepted: [number, number] = [0, 0];
  #unknownFeature = false;
  #status = 0;
  #deviceFeaturesSel = 0;
  #driverFeaturesSel = 0;
  #queueSel = 0;
  #configGeneration = 0;
  #registers: QueueRegisters[] = [];
  #queues: (Virtqueue | undefined)[] = [];

  constructor(device: VirtioDevice, options: VirtioMmioOptions) {
    this.device = device;
    this.#options = options;
    for (const bit of [...device.features, VIRTIO_F_VERSION_1, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX]) {
      this.#offered[bit >>> 5] = (this.#offered[bit >>> 5] | (1 << (bit & 31))) >>> 0;
    }
    this.#clear();
  }

  /** The vCPU reads `data.length` bytes at `offset` of the device's registers. */
  read(offset: number, data: Uint8Array): void {
    data.fill(0);
    if (offset >= CONFIG) {
      const at = offset - CONFIG;
      if (at + data.length <= this.device.config.length) data.set(this.device.config.subarray(at, at + data.length));
      return;
    }
    // virtio 1.2, 4.2.2.2: registers are read and written 32 bits wide and aligned.
    if (data.length !== 4 || (offset & 3) !== 0) return;
    const value = this.#readRegister(offset);
    for (let byte = 0; byte < 4; byte++) data[byte] = value >>> (byte * 8);
  }

  #readRegister(offset: number): number {
    switch (offset) {
      case MAGIC_VALUE:
        return MAGIC;
      case VERSION:
        return MMIO_VERSION;
      case DEVICE_ID:
        return this.device.type;
      case VENDOR_ID:
        return VENDOR;
      case DEVICE_FEATURES:
        return this.#offered[this.#deviceFeaturesSel] ?? 0;
      case QUEUE_NUM_MAX:
        return this.device.queueSizes[this.#queueSel] ?? 0;
      case QUEUE_READY:
        return this.#registers[this.#queueSel]?.ready ? 1 : 0;
      case INTERRUPT_STATUS:
        return Atomics.load(this.#options.interruptStatus, 0);
      case STATUS:
        return this.#status;
      case SHM_LEN_LOW:
      case SHM_LEN_HIGH:
      case SHM_BASE_LOW:
      case SHM_BASE_HIGH:
        // virtio 1.2, 4.2.2: a region that is not there has the length and the base 2^64 - 1.
        return 0xffffffff;
      case CONFIG_GENERATION:
        return this.#configGeneration;
      default:
        return 0;
    }
  }

  /** The vCPU writes `data` at `offset` of the device's registers. */
  write(offset: number, data: Uint8Array): void {
    if (offset >= CONFIG) {
      const at = offset - CONFIG;
      if (at + data.length <= this.device.config.length) this.device.writeConfig?.(at, data);
      return;
    }
    if (data.length !== 4 || (offset & 3) !== 0) return;
    const value = (data[0] | (data[1] << 8) | (data[2] << 16) | (data[3] << 24)) >>> 0;
    switch (offset) {
      case DEVICE_FEATURES_SEL:
        this.#deviceFeaturesSel = value;
        break;
      case DRIVER_FEATURES_SEL:
        this.#driverFeaturesSel = value;
        break;
      case DRIVER_FEATURES:
        // virtio 1.2, 3.1.1: features are chosen before FEATURES_OK, and not changed after it.
        if ((this.#status & STATUS_FEATURES_OK) !== 0) break;
        if (this.#driverFeaturesSel < 2) this.#accepted[this.#driverFeaturesSel] = value;
        else if (value !== 0) this.#unknownFeature = true;
        break;
      case QUEUE_SEL:
        this.#queueSel = value;
        break;
      case QUEUE_NOTIFY:
        this.kick(value);
        break;
      case INTERRUPT_ACK:
        Atomics.and(this.#options.interruptStatus, 0, ~value);
        break;
      case STATUS:
        this.#writeStatus(value);
        break;
      default:
        this.#writeQueueRegister(offset, value);
    }
  }

  #writeQueueRegister(offset: number, value: number): void {
    const queue = this.#registers[this.#queueSel];
    if (queue === undefined) return;
    if (offset === QUEUE_READY) {
      if (value === 0) this.#queues[this.#queueSel]?.stop();
      // A queue that is made ready under a running device would never be looked at.
      if (value === 0 || (this.#status & STATUS_DRIVER_OK) === 0) queue.ready = value === 1;
      return;
    }
    // virtio 1.2, 4.2.3.2: a queue is set up while it is not ready.
    if (queue.ready) return;
    switch (offset) {
      case QUEUE_NUM:
        queue.size = value;
        break;
      case QUEUE_DESC_LOW:
        queue.descriptorTable = withLow(queue.descriptorTable, value);
        break;
      case QUEUE_DESC_HIGH:
        queue.descriptorTable = withHigh(queue.descriptorTable, value);
        break;
      case QUEUE_DRIVER_LOW:
        queue.availableRing = withLow(queue.availableRing, value);
        break;
      case QUEUE_DRIVER_HIGH:
        queue.availableRing = withHigh(queue.availableRing, value);
        break;
      case QUEUE_DEVICE_LOW:
        queue.usedRing = withLow(queue.usedRing, value);
        break;
      case QUEUE_DEVICE_HIGH:
        queue.usedRing = withHigh(queue.usedRing, value);
        break;
    }
  }

  #writeStatus(value: number): void {
    if (value === 0) {
      this.#reset();
      return;
    }
    // virtio 1.2, 2.1.1: a driver never takes a bit back but by a reset.
    let set = value & STATUS_OF_DRIVER & ~this.#status;
    if ((set & STATUS_FEATURES_OK) !== 0 && !this.#featuresAcceptable()) set &= ~STATUS_FEATURES_OK;
    const before = this.#status;
    this.#status |= set;
    if ((set & STATUS_DRIVER_OK) === 0) return;
    if ((before & STATUS_FEATURES_OK) === 0) {
      this.#status &= ~STATUS_DRIVER_OK;
      return;
    }
    this.#activate();
  }

  #featuresAcceptable(): boolean {
    if (this.#unknownFeature || !this.#hasFeature(VIRTIO_F_VERSION_1)) return false;
    return this.#accepted.every((bits, word) => (bits & ~this.#offered[word]) === 0);
  }

  #hasFeature(bit: number): boolean {
    return ((this.#accepted[bit >>> 5] >>> (bit & 31)) & 1) !== 0;
  }

  #activate(saved?: readonly (VirtqueueState | undefined)[]): void {
    const { memory, loop } = this.#options;
    const fail = (reason: string) => this.#fail(reason);
    const queueOptions = {
      memory,
      eventIndex: this.#hasFeature(VIRTIO_F_EVENT_IDX),
      indirect: this.#hasFeature(VIRTIO_F_INDIRECT_DESC),
      fail,
    };
    try {
      this.#queues = this.#registers.map((layout, index) => {
        if (!layout.ready) return undefined;
        const largest = this.device.queueSizes[index];
        if (layout.size > largest) throw new VirtqueueError(`queue size ${layout.size} is above ${largest}`);
        const queue = new Virtqueue(layout, queueOptions);
        if (saved?.[index] !== undefined) queue.restore(saved[index]);
        return queue;
      });
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#fail(error.message);
      return;
    }
    const context: DeviceContext = {
      memory,
      loop,
      queues: this.#queues,
      hasFeature: (bit) => this.#hasFeature(bit),
      notify: (queue) => {
        if (this.#queues[queue]?.needsNotification()) this.#interrupt(INTERRUPT_USED_BUFFER);
      },
      configChanged: () => this.#configChanged(),
      fail,
    };
    this.device.activate(context);
  }

  #interrupt(bits: number): void {
    Atomics.or(this.#options.interruptStatus, 0, bits);
    this.#options.raiseInterrupt();
  }

  #configChanged(): void {
    this.#configGeneration = (this.#configGeneration + 1) >>> 0;
    if ((this.#status & STATUS_DRIVER_OK) !== 0) this.#interrupt(INTERRUPT_CONFIG_CHANGE);
  }

  #fail(reason: string): void {
    if ((this.#status & STATUS_DEVICE_NEEDS_RESET) !== 0) return;
    this.#status |= STATUS_DEVICE_NEEDS_RESET;
    for (const queue of this.#queues) queue?.stop();
    this.#options.onFailure?.(`${this.device.name}: ${reason}`);
    // virtio 1.2, 2.1.2: the driver hears of it by a configuration change interrupt.
    if ((this.#status & STATUS_DRIVER_OK) !== 0) this.#interrupt(INTERRUPT_CONFIG_CHANGE);
  }

  #reset(): void {
    this.device.reset();
    this.#clear();
    Atomics.store(this.#options.interruptStatus, 0, 0);
  }

  #clear(): void {
    for (const queue of this.#queues) queue?.stop();
    this.#queues = [];
    this.#registers = this.device.queueSizes.map((size) => ({
      size,
      ready: false,
      descriptorTable: 0,
      availableRing: 0,
      usedRing: 0,
    }));
    this.#accepted.fill(0);
    this.#unknownFeature = false;
    this.#status = 0;
    this.#deviceFeaturesSel = 0;
    this.#driverFeaturesSel = 0;
    this.#queueSel = 0;
  }

  /** The driver kicked `queue`: its ioeventfd fired, or it wrote QueueNotify. */
  kick(queue: number): void {
    const running = (this.#status & (STATUS_DRIVER_OK | STATUS_DEVICE_NEEDS_RESET)) === STATUS_DRIVER_OK;
    if (running && this.#queues[queue] !== undefined) this.device.kick(queue);
  }

  /** Writes down the transport and its device; call it between two callbacks of the event loop. */
  save(): VirtioMmioState {
    // First: it may raise the interrupt.
    const device = this.device.save();
    return {
      status: this.#status,
      driverFeatures: [...this.#accepted],
      queues: this.#registers.map((layout, index) => ({ ...layout, ring: this.#queues[index]?.save() })),
      selectors: {
        deviceFeatures: this.#deviceFeaturesSel,
        driverFeatures: this.#driverFeaturesSel,
        queue: this.#queueSel,
      },
      interruptStatus: Atomics.load(this.#options.interruptStatus, 0),
      configGeneration: this.#configGeneration,
      device,
    };
  }

  /**
   * On a new transport over a new device of the same kind, and memory with the saved contents: goes on where the saved
   * one was. An interrupt that was pending is raised again.
   */
  restore(state: VirtioMmioState): void {
    this.#accepted[0] = state.driverFeatures[0];
    this.#accepted[1] = state.driverFeatures[1];
    this.#registers = state.queues.map(({ ring: _, ...layout }) => layout);
    this.#deviceFeaturesSel = state.selectors.deviceFeatures;
    this.#driverFeaturesSel = state.selectors.driverFeatures;
    this.#queueSel = state.selectors.queue;
    this.#configGeneration = state.configGeneration;
    this.#status = state.status;
    Atomics.store(this.#options.interruptStatus, 0, state.interruptStatus);
    const running = (state.status & (STATUS_DRIVER_OK | STATUS_DEVICE_NEEDS_RESET)) === STATUS_DRIVER_OK;
    if (running) {
      this.#activate(state.queues.map((queue) => queue.ring));
      this.device.restore(state.device);
    }
    if (state.interruptStatus !== 0) this.#options.raiseInterrupt();
  }
}
