// Activation of a device, the same for each transport: the options of its queues, and the device's
// context.
import type { EventLoop } from '../host/event-loop.js';
import type { GuestMemory } from '../host/memory.js';
import type { VirtioDevice } from './device.js';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, type Virtqueue, type VirtqueueOptions } from './queue.js';

/** What a running device needs from its transport. */
export interface Transport {
  readonly memory: GuestMemory;
  readonly loop: EventLoop;
  /** Returns true if the driver accepted the feature bit. */
  hasFeature(bit: number): boolean;
  /** Interrupts the driver for used buffers of the queue. */
  interrupt(queue: number): void;
  /** Tells the driver that the configuration space changed. */
  configChanged(): void;
  /** Reports that the driver broke the protocol. */
  fail(reason: string): void;
}

/** Returns the options of each queue, according to the ring's features. */
export function queueOptions({ memory, hasFeature, fail }: Omit<Transport, 'loop'>): VirtqueueOptions {
  return {
    memory,
    eventIndex: hasFeature(VIRTIO_F_EVENT_IDX),
    indirect: hasFeature(VIRTIO_F_INDIRECT_DESC),
    fail,
  };
}

/**
 * Gives the device its queues on DRIVER_OK, by index; undefined for a queue that the driver did not
 * set up.
 */
export function activateDevice(
  device: VirtioDevice,
  { memory, loop, hasFeature, interrupt, configChanged, fail }: Transport,
  queues: (Virtqueue | undefined)[],
): void {
  device.activate({
    memory,
    loop,
    queues,
    hasFeature,
    notify: (index) => {
      if (queues[index]?.needsNotification()) interrupt(index);
    },
    configChanged,
    fail,
  });
}
