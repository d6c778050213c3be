// Empties a queue that the driver kicked: without further kicks, without missing a chain, and
// without holding up the machine's other devices for long.

import type { DeviceContext } from '../virtio/device.js';
import type { DescriptorChain, Virtqueue } from '../virtio/queue.js';

/** Bytes moved in one turn of the event loop: a few milliseconds of work. */
const MAX_BYTES = 32 * 1024 * 1024;

/**
 * Bytes moved before the driver is notified. With long chains, driver and device work in parallel.
 */
const TOLD_BYTES = 256 * 1024;

/** `serve` returns this to end the turn at once. */
export const END_OF_TURN = Number.POSITIVE_INFINITY;

/**
 * Calls `serve`, which returns the bytes it moved, for each available chain, and then notifies the
 * driver. With long chains it also notifies in between. After as many chains as the queue's size,
 * or 32 MiB, it defers `again` to the next turn of the event loop, so that a driver that never
 * stops adding chains does not starve other devices.
 */
export function drain(
  context: DeviceContext,
  index: number,
  chain: DescriptorChain,
  serve: (chain: DescriptorChain, queue: Virtqueue) => number,
  again: () => void,
): void {
  const queue = context.queues[index];
  if (queue === undefined) return;
  let chains = queue.size;
  let bytes = MAX_BYTES;
  let untold = 0;
  queue.disableKicks();
  do {
    while (chains > 0 && bytes > 0 && queue.pop(chain)) {
      chains--;
      const moved = serve(chain, queue);
      bytes -= moved;
      untold += moved;
      if (untold < TOLD_BYTES) continue;
      context.notify(index);
      untold = 0;
    }
    if (chains === 0 || bytes <= 0) {
      context.loop.defer(again);
      break;
    }
  } while (queue.enableKicks());
  context.notify(index);
}
