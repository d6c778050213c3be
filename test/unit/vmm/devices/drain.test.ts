// Draining a queue: when the driver is notified, and when the event loop gets its turn.
import { expect, test } from 'vitest';
import { drain } from '../../../../vmm/devices/drain.js';
import { VirtioRng } from '../../../../vmm/devices/rng.js';
import type { DeviceContext } from '../../../../vmm/virtio/device.js';
import { DescriptorChain, Virtqueue } from '../../../../vmm/virtio/queue.js';
import { DriverQueue, VirtioDriver } from '../../../fixtures/virtio-driver.js';

function openQueue(driver: VirtioDriver, ring: DriverQueue, notify: () => void): DeviceContext {
  const queue = new Virtqueue(
    { size: 8, descriptorTable: ring.descriptors, availableRing: ring.available, usedRing: ring.used },
    { memory: driver.memory, eventIndex: true, indirect: false, fail: () => {} },
  );
  const { memory, loop } = driver;
  const none = () => {};
  return { memory, loop, queues: [queue], hasFeature: () => false, notify, configChanged: none, fail: none };
}

test.each([
  [8, 1],
  [100 * 1024, 2],
  [2 ** 20, 5],
])('four chains of %i bytes cause %i notifications', (length, expected) => {
  using driver = new VirtioDriver(new VirtioRng());
  const ring = new DriverQueue(0, 8, driver);
  const piece = driver.allocate(8);
  for (let chain = 0; chain < 4; chain++) ring.add([piece], []);
  let notified = 0;
  const context = openQueue(driver, ring, () => notified++);
  const serve = ({ head }: DescriptorChain, queue: Virtqueue) => {
    queue.push(head, 0);
    return length;
  };
  drain(context, 0, new DescriptorChain(driver.memory, 8), serve, () => {});
  expect(notified).toBe(expected);
  for (let chain = 0; chain < 4; chain++) expect(ring.takeUsed()).toBeDefined();
});

test('a driver that never stops adding chains does not block the event loop', () => {
  using driver = new VirtioDriver(new VirtioRng());
  const ring = new DriverQueue(0, 8, driver);
  const context = openQueue(driver, ring, () => {});
  const { memory, loop } = context;
  const chain = new DescriptorChain(memory, 8);
  const piece = driver.allocate(8);
  let served = 0;
  const once = () =>
    drain(
      context,
      0,
      chain,
      ({ head }, queue) => {
        served++;
        queue.push(head, 0);
        ring.takeUsed();
        if (served < 1000) ring.add([piece], []);
        return 8;
      },
      once,
    );
  ring.add([piece], []);
  once();
  expect(served).toBe(8);
  loop.poll(0);
  expect(served).toBe(16);
  while (served < 1000) loop.poll(0);
  loop.poll(0);
  expect(ring.wantsKick).toBe(false);
  ring.add([piece], []);
  expect(ring.wantsKick).toBe(true);
});
