// How a device empties a queue that the driver kicked: without more kicks meanwhile, without missing a chain, and never
// for so long that the rest of the machine waits.

import type { DeviceContext } from '../virtio/device.js';
import type { DescriptorChain, Virtqueue } from '../virtio/queue.js';

/** Bytes moved before the other devices have their turn: some milliseconds' worth. */
const MAX_BYTES = 32 * 1024 * 1024;

/** Bytes moved before the driver is told: where chains are long, it goes on beside the device. */
const TOLD_BYTES = 256 * 1024;

/** What `serve` returns to have its turn end at once. */
export const END_OF_TURN = Number.POSITIVE_INFINITY;

/**
 * Calls `serve`, which returns the bytes it moved, for each available chain until there is none, then notifies; of long
 * chains as they are served. After as many chains as the queue is long, or 32 MiB, it lets the event loop go round and
 * goes on with `again`: a driver that adds chains for ever starves nobody.
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
