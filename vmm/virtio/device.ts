// What every virtio device is, whichever way the guest reaches it (virtio 1.2, 2 "Basic Facilities of a Virtio Device").
// A device lives in the device thread alone. It knows its queues and its configuration space; the transport
// (virtio/mmio.ts, virtio/vhost-user.ts) knows registers, feature negotiation and interrupts.
import type { EventLoop } from '../host/event-loop.js';
import type { GuestMemory } from '../host/memory.js';
import type { Check } from '../saved-state.js';
import type { Virtqueue } from './queue.js';

/** What a device is given when the driver has set DRIVER_OK. */
export interface DeviceContext {
  memory: GuestMemory;
  loop: EventLoop;
  /** The queues the driver enabled, by index; undefined where it enabled none. */
  queues: (Virtqueue | undefined)[];
  /** Whether the driver accepted the feature bit. */
  hasFeature(bit: number): boolean;
  /** Tells the driver of used buffers, unless it asked not to be told (virtio 1.2, 2.7.7 and 2.7.10). */
  notify(queue: number): void;
  /** Tells the driver that the configuration space changed. */
  configChanged(): void;
  /** The driver broke the protocol: sets DEVICE_NEEDS_RESET and stops the device until it is reset. */
  fail(reason: string): void;
}

/** A device whose saved state, plain JSON, is a `State`. */
export interface VirtioDevice<State = unknown> extends Disposable {
  /** Device type (virtio 1.2, 5 "Device Types"). */
  readonly type: number;
  /** Short name for logs: `blk`, `vsock`. */
  readonly name: string;
  /** Feature bits of the device type offered to the driver; the transport adds VIRTIO_F_VERSION_1 and the ring's. */
  readonly features: readonly number[];
  /** Largest size of each queue; its length is the number of queues. Powers of two. */
  readonly queueSizes: readonly number[];
  /** Configuration space as the driver reads it, little-endian; its length is the space's length. */
  readonly config: Uint8Array;
  /** The driver wrote `data` at `offset` of the configuration space; the transport checked the bounds. */
  writeConfig?(offset: number, data: Uint8Array): void;
  /** DRIVER_OK: from now on queues may be used. */
  activate(context: DeviceContext): void;
  /** The driver kicked queue `index`. Never throws for what the guest did: see {@link DeviceContext.fail}. */
  kick(index: number): void;
  /** Back to the state before {@link activate}: drops what is under way, forgets the context. */
  reset(): void;
  /** Writes down all that {@link restore} needs, beside queues and features, which the transport saves. */
  save(): State;
  /** Checks a state that was saved, perhaps by another process, before {@link restore}. Changes nothing. */
  readonly checkState: Check<State>;
  /** On a new device, after `activate` with the saved queues: goes on where the saved one was. */
  restore(state: State): void;
}
