import { expect, test } from 'vitest';
import type { DeviceContext } from '../../../../vmm/devices/device.js';
import { drain } from '../../../../vmm/devices/drain.js';
import { VirtioRng } from '../../../../vmm/devices/rng.js';
import { DescriptorChain, Virtqueue } from '../../../../vmm/virtio/queue.js';
import { DriverQueue, VirtioDriver } from '../../../fixtures/virtio-driver.js';

test('a driver that never stops adding chains does not keep the event loop from going round', () => {
  using driver = new VirtioDriver(new VirtioRng());
  const ring = new DriverQueue(0, 8, driver);
  const queue = new Virtqueue(
    { size: 8, descriptorTable: ring.descriptors, availableRing: ring.available, usedRing: ring.used },
    { memory: driver.memory, eventIndex: true, indirect: false, fail: () => {} },
  );
  const { memory, loop } = driver;
  const context: DeviceContext = {
    memory,
    loop,
    queues: [queue],
    hasFeature: () => false,
    notify: () => {},
    configChanged: () => {},
    fail: () => {},
  };
  const chain = new DescriptorChain(memory, 8);
  const piece = driver.allocate(8);
  let served = 0;
  const once = () =>
    drain(
      context,
      0,
      chain,
      ({ head }) => {
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
