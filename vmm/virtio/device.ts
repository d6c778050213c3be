// The contract of every virtio device, for each transport (virtio 1.2, 2 "Basic Facilities of a
// Virtio Device"). A device runs in the device thread. It knows its queues and its configuration
// space; the transport (virtio/mmio, virtio/vhost-user) knows registers, feature negotiation and
// interrupts.
import type { EventLoop } from '../host/event-loop.js';
import type { GuestMemory } from '../host/memory.js';
import type { Check } from '../saved-state.js';
import type { Virtqueue } from './queue.js';

/** The device's access to the machine, from the moment the driver sets DRIVER_OK. */
export interface DeviceContext {
  memory: GuestMemory;
  loop: EventLoop;
  /** The queues by index; undefined for a queue that the driver did not enable. */
  queues: (Virtqueue | undefined)[];
  /** Returns true if the driver accepted the feature bit. */
  hasFeature(bit: number): boolean;
  /**
   * Interrupts the driver for used buffers, unless it suppressed the interrupt (virtio 1.2, 2.7.7
   * and 2.7.10).
   */
  notify(queue: number): void;
  /** Tells the driver that the configuration space changed. */
  configChanged(): void;
  /**
   * Reports that the driver broke the protocol. Sets DEVICE_NEEDS_RESET and stops the device until
   * it is reset.
   */
  fail(reason: string): void;
}

/** A virtio device. Its saved state is a `State`, which is plain JSON. */
export interface VirtioDevice<State = unknown> extends Disposable {
  /** Device type (virtio 1.2, 5 "Device Types"). */
  readonly type: number;
  /** Short name for logs: `blk`, `vsock`. */
  readonly name: string;
  /**
   * The device type's feature bits that the driver is offered. The transport adds
   * VIRTIO_F_VERSION_1 and the ring's bits.
   */
  readonly features: readonly number[];
  /** Largest size of each queue; its length is the number of queues. Powers of two. */
  readonly queueSizes: readonly number[];
  /**
   * Configuration space as the driver reads it, little-endian; its length is the space's length.
   */
  readonly config: Uint8Array;
  /**
   * The driver wrote `data` at `offset` of the configuration space; the transport checked the
   * bounds.
   */
  writeConfig?(offset: number, data: Uint8Array): void;
  /** The driver set DRIVER_OK: the device may use its queues from now on. */
  activate(context: DeviceContext): void;
  /**
   * The driver kicked queue `index`. Never throws because of the guest: see
   * {@link DeviceContext.fail}.
   */
  kick(index: number): void;
  /** Returns to the state before {@link activate}: drops pending work and the context. */
  reset(): void;
  /**
   * True while the device has bytes of the driver that are still to be written to the host, and
   * would not be in the saved state. Absent: never.
   */
  readonly isUnsent?: boolean;
  /** Returns what {@link restore} needs, except queues and features, which the transport saves. */
  save(): State;
  /**
   * Checks a state that was saved, perhaps by another process, before {@link restore}. Changes
   * nothing.
   */
  readonly checkState: Check<State>;
  /**
   * Continues from a saved state. Called once, on a new device, after `activate` with the saved
   * queues.
   */
  restore(state: State): void;
}
