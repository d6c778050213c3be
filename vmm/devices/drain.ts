// How a device empties a queue that the driver kicked: without more kicks meanwhile, without missing a chain, and never
// for so long that the rest of the machine waits.
import type { DescriptorChain, Virtqueue } from '../virtio/queue.js';
import type { DeviceContext } from './device.js';

/**
 * Calls `serve` for each available chain until there is none, then notifies once. After as many chains as the queue is
 * long it lets the event loop go round, and goes on with `again`: a driver that adds chains for ever starves nobody.
 */
export function drain(
  context: DeviceContext,
  index: number,
  chain: DescriptorChain,
  serve: (chain: DescriptorChain, queue: Virtqueue) => void,
  again: () => void,
): void {
  const queue = context.queues[index];
  if (queue === undefined) return;
  let budget = queue.size;
  queue.disableKicks();
  do {
    while (budget > 0 && queue.pop(chain)) {
      budget--;
      serve(chain, queue);
    }
    if (budget === 0) {
      context.loop.defer(again);
      break;
    }
  } while (queue.enableKicks());
  context.notify(index);
}
