// The entropy device: how much of each request it fills.
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { VirtioRng } from '../../../../vmm/devices/rng.js';
import { VirtioDriver } from '../../../fixtures/virtio-driver.js';

describe('rng', () => {
  test('every requested byte is written, in all buffers of the request', () => {
    using driver = new VirtioDriver(new VirtioRng()).start();
    const pieces = [64, 1000].map((length) => driver.allocate(length));
    driver.queueAt(0).add([], pieces);
    driver.queueAt(0).kick();
    expect(driver.queueAt(0).takeUsed()?.length).toBe(1064);
    for (const piece of pieces) expect(new Set(driver.bytes(piece)).size).toBeGreaterThan(16);
  });

  test('a request for a mebibyte receives 64 KiB', () => {
    using driver = new VirtioDriver(new VirtioRng()).start();
    const piece = driver.allocate(1024 * 1024);
    driver.queueAt(0).add([], [piece]);
    driver.queueAt(0).kick();
    const length = driver.queueAt(0).takeUsed()?.length ?? 0;
    expect(length).toBe(64 * 1024);
    expect(
      driver
        .bytes(piece)
        .subarray(length)
        .every((byte) => byte === 0),
    ).toBe(true);
  });

  test('a request without writable buffers is returned with length 0', () => {
    using driver = new VirtioDriver(new VirtioRng()).start();
    driver.queueAt(0).add([driver.allocate(8)], []);
    driver.queueAt(0).kick();
    expect(driver.queueAt(0).takeUsed()?.length).toBe(0);
  });

  test('a storm of requests is served at the rate of the device, and none is lost', () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1000);
    onTestFinished(() => clock.mockRestore());
    using driver = new VirtioDriver(new VirtioRng()).start();
    const queue = driver.queueAt(0);
    const piece = driver.allocate(64 * 1024);
    const used = () => {
      let bytes = 0;
      for (let next = queue.takeUsed(); next !== undefined; next = queue.takeUsed()) bytes += next.length;
      return bytes;
    };
    for (let count = 0; count < 32; count++) queue.add([], [piece]);
    queue.kick();
    // A tenth of a second's worth of 1 MiB, and the request that incurs the debt.
    expect(used()).toBe(2 * 64 * 1024);
    expect(queue.kick()).toBe(false);
    clock.mockReturnValue(2000);
    for (let turn = 0; turn < 3; turn++) driver.loop.poll(0);
    expect(used()).toBe(2 * 64 * 1024);
    for (let now = 2000; now <= 5000; now += 10) {
      clock.mockReturnValue(now);
      driver.loop.poll(0);
    }
    expect(used()).toBe(28 * 64 * 1024);
  });

  test('a restored device serves the requests of the saved one', () => {
    using driver = new VirtioDriver(new VirtioRng()).start();
    driver.queueAt(0).add([], [driver.allocate(8)]);
    driver.replaceDevice(() => new VirtioRng());
    expect(driver.queueAt(0).takeUsed()?.length).toBe(8);
  });
});
