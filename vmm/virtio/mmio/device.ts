// The virtio-mmio transport (virtio 1.2, 4.2 "Virtio Over MMIO"), version 2 registers only. It runs
// in the device thread. A vCPU thread may serve InterruptStatus and InterruptACK itself, from the
// shared status word.

import type { EventLoop } from '../../host/event-loop.js';
import type { GuestMemory } from '../../host/memory.js';
import { FieldError, parseState } from '../../saved-state.js';
import { activateDevice, queueOptions, type Transport } from '../activation.js';
import type { VirtioDevice } from '../device.js';
import { areOffered, type FeatureWords, featureWords, hasFeature } from '../features.js';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
  Virtqueue,
  VirtqueueError,
  type VirtqueueOptions,
} from '../queue.js';
import { type QueueRegisters, resetQueue, writeQueueRegister } from './queue-registers.js';
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
  QUEUE_NOTIFY,
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
import { isRunning, mmioState, type VirtioMmioState } from './state.js';

export interface VirtioMmioOptions {
  memory: GuestMemory;
  loop: EventLoop;
  /**
   * InterruptStatus: one element of a SharedArrayBuffer. The transport sets bits; serving
   * InterruptACK clears them.
   */
  interruptStatus: Int32Array;
  /** Raises the device's interrupt, which is edge-triggered: writes the irqfd's eventfd. */
  raiseInterrupt: () => void;
  /** Called at most once per reset, with the reason for DEVICE_NEEDS_RESET. */
  onFailure?: (reason: string) => void;
}

/** One device on the bus: 4 KiB of registers, one kick per queue, one interrupt. */
export class VirtioMmio<State = unknown> {
  readonly device: VirtioDevice<State>;
  readonly #options: VirtioMmioOptions;
  readonly #transport: Transport;
  readonly #offered: Readonly<FeatureWords>;
  /** The features that the driver accepted. */
  #accepted: FeatureWords = [0, 0];
  #unknownFeature = false;
  #status = 0;
  #deviceFeaturesSel = 0;
  #driverFeaturesSel = 0;
  #queueSel = 0;
  #configGeneration = 0;
  #registers: QueueRegisters[] = [];
  #queues: (Virtqueue | undefined)[] = [];

  constructor(device: VirtioDevice<State>, options: VirtioMmioOptions) {
    this.device = device;
    this.#options = options;
    this.#offered = featureWords([...device.features, VIRTIO_F_VERSION_1, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX]);
    this.#transport = {
      memory: options.memory,
      loop: options.loop,
      hasFeature: (bit) => hasFeature(this.#accepted, bit),
      interrupt: () => this.#interrupt(INTERRUPT_USED_BUFFER),
      configChanged: () => this.#configChanged(),
      fail: (reason) => this.#fail(reason),
    };
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
        // virtio 1.2, 4.2.2: a missing region has the length and the base 2^64 - 1.
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
    const value = (data[0]! | (data[1]! << 8) | (data[2]! << 16) | (data[3]! << 24)) >>> 0;
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
        if (this.#driverFeaturesSel === 0) this.#accepted[0] = value;
        else if (this.#driverFeaturesSel === 1) this.#accepted[1] = value;
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
      // A running device would never look at a queue that becomes ready now.
      if (value === 0 || (this.#status & STATUS_DRIVER_OK) === 0) queue.ready = value === 1;
      return;
    }
    // virtio 1.2, 4.2.3.2: a queue is set up while it is not ready.
    if (!queue.ready) writeQueueRegister(queue, offset, value);
  }

  #writeStatus(value: number): void {
    if (value === 0) {
      this.#reset();
      return;
    }
    // virtio 1.2, 2.1.1: only a reset clears a bit.
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
    if (this.#unknownFeature || !hasFeature(this.#accepted, VIRTIO_F_VERSION_1)) return false;
    return areOffered(this.#accepted, this.#offered);
  }

  #activate(): void {
    const options = queueOptions(this.#transport);
    try {
      this.#queues = this.#registers.map((registers, index) => this.#createQueue(registers, index, options));
    } catch (error) {
      if (!(error instanceof VirtqueueError)) throw error;
      this.#fail(error.message);
      return;
    }
    activateDevice(this.device, this.#transport, this.#queues);
  }

  /** @throws VirtqueueError for a queue whose size or rings are not valid */
  #createQueue(registers: QueueRegisters, index: number, options: VirtqueueOptions): Virtqueue | undefined {
    if (!registers.ready) return undefined;
    const largest = this.device.queueSizes[index] ?? 0;
    if (registers.size > largest)
      throw new VirtqueueError(`queue size ${registers.size} exceeds the maximum ${largest}`);
    return new Virtqueue(registers, options);
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
    // virtio 1.2, 2.1.2: a configuration change interrupt tells the driver.
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
    this.#registers = this.device.queueSizes.map(resetQueue);
    this.#accepted = [0, 0];
    this.#unknownFeature = false;
    this.#status = 0;
    this.#deviceFeaturesSel = 0;
    this.#driverFeaturesSel = 0;
    this.#queueSel = 0;
  }

  /** The driver kicked `queue`: its ioeventfd fired, or it wrote QueueNotify. */
  kick(queue: number): void {
    if (isRunning(this.#status) && this.#queues[queue] !== undefined) this.device.kick(queue);
  }

  /**
   * Returns the state of the transport and its device. Call it between two callbacks of the event
   * loop.
   */
  save(): VirtioMmioState<State> {
    // The device comes first: saving it may raise the interrupt.
    const device = this.device.save();
    const [low, high] = this.#accepted;
    return {
      status: this.#status,
      driverFeatures: { low, high },
      unknownFeature: this.#unknownFeature,
      queues: this.#registers.map((registers, index) => ({ ...registers, ring: this.#queues[index]?.save() ?? null })),
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
   * Continues from a saved state. Called on a new transport over a new device of the same kind,
   * with memory that has the saved contents. Raises a pending interrupt again.
   * @throws MachineError `bad-snapshot`; transport and device are then unchanged
   */
  restore(saved: unknown): void {
    const checkState = mmioState(this.device, this.#offered);
    const { state, queues } = parseState(this.device.name, (value) => this.#checkQueues(checkState(value)), saved);
    this.#accepted = [state.driverFeatures.low, state.driverFeatures.high];
    this.#unknownFeature = state.unknownFeature;
    this.#registers = state.queues.map(({ ring: _, ...registers }) => registers);
    this.#queues = queues;
    this.#deviceFeaturesSel = state.selectors.deviceFeatures;
    this.#driverFeaturesSel = state.selectors.driverFeatures;
    this.#queueSel = state.selectors.queue;
    this.#configGeneration = state.configGeneration;
    this.#status = state.status;
    Atomics.store(this.#options.interruptStatus, 0, state.interruptStatus);
    if (isRunning(state.status)) {
      activateDevice(this.device, this.#transport, queues);
      this.device.restore(state.device);
    }
    if (state.interruptStatus !== 0) this.#options.raiseInterrupt();
  }

  /** Creates the queues of a device that was running; no queues for any other device. */
  #checkQueues(state: VirtioMmioState<State>): { state: VirtioMmioState<State>; queues: (Virtqueue | undefined)[] } {
    if (!isRunning(state.status)) return { state, queues: [] };
    const accepted: FeatureWords = [state.driverFeatures.low, state.driverFeatures.high];
    const options = queueOptions({ ...this.#transport, hasFeature: (bit) => hasFeature(accepted, bit) });
    const queues = state.queues.map((registers, index) => {
      try {
        const queue = this.#createQueue(registers, index, options);
        if (queue !== undefined && registers.ring === null) throw new VirtqueueError('the queue has no ring');
        if (registers.ring !== null) queue?.restore(registers.ring);
        return queue;
      } catch (error) {
        if (!(error instanceof VirtqueueError)) throw error;
        throw new FieldError(`a valid queue: ${error.message}`, `.queues[${index}]`);
      }
    });
    return { state, queues };
  }
}
