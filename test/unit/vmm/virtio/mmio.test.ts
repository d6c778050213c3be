// The virtio-mmio transport as a driver sees it: registers, feature negotiation, queues, failures.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { record, u32 } from '../../../../vmm/saved-state.js';
import type { DeviceContext, VirtioDevice } from '../../../../vmm/virtio/device.js';
import {
  CONFIG_GENERATION,
  DEVICE_FEATURES,
  DEVICE_FEATURES_SEL,
  DEVICE_ID,
  DRIVER_FEATURES,
  DRIVER_FEATURES_SEL,
  INTERRUPT_ACK,
  INTERRUPT_STATUS,
  MAGIC_VALUE,
  QUEUE_NOTIFY,
  QUEUE_NUM_MAX,
  QUEUE_READY,
  QUEUE_SEL,
  SHM_LEN_HIGH,
  SHM_LEN_LOW,
  STATUS,
  VERSION,
} from '../../../../vmm/virtio/mmio/registers.js';
import { DescriptorChain, VIRTIO_F_VERSION_1 } from '../../../../vmm/virtio/queue.js';
import { DriverQueue, VirtioDriver } from '../../../fixtures/virtio-driver.js';

interface CountingState {
  served: number;
}

/** A device that returns every chain, counts the chains, and records the calls it receives. */
class CountingDevice implements VirtioDevice<CountingState> {
  readonly checkState = record<CountingState>({ served: u32 });
  readonly type = 42;
  readonly name = 'counting';
  readonly features = [0, 5, 40];
  readonly queueSizes = [8, 16];
  readonly config = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  context: DeviceContext | undefined;
  kicks: number[] = [];
  resets = 0;
  served = 0;

  writeConfig(offset: number, data: Uint8Array): void {
    this.config.set(data, offset);
  }
  activate(context: DeviceContext): void {
    this.context = context;
  }
  kick(index: number): void {
    this.kicks.push(index);
    const chain = new DescriptorChain(this.context!.memory, 16);
    const queue = this.context!.queues[index]!;
    while (queue.pop(chain)) {
      queue.push(chain.head, 0);
      this.served++;
    }
    queue.enableKicks();
    this.context!.notify(index);
  }
  reset(): void {
    this.resets++;
    this.context = undefined;
  }
  save(): CountingState {
    return { served: this.served };
  }
  restore({ served }: CountingState): void {
    this.served = served;
  }
  [Symbol.dispose](): void {}
}

function started(options = {}): VirtioDriver & { device: CountingDevice } {
  return new VirtioDriver(new CountingDevice(), { memorySize: 256 * 1024, ...options }).start() as never;
}

describe('virtio-mmio', () => {
  test('a driver sees a version 2 device, its type and its features', () => {
    using driver = new VirtioDriver(new CountingDevice());
    expect(driver.readRegister(MAGIC_VALUE)).toBe(0x74726976);
    expect(driver.readRegister(VERSION)).toBe(2);
    expect(driver.readRegister(DEVICE_ID)).toBe(42);
    const features = [0, 1, 2].map((select) => {
      driver.writeRegister(DEVICE_FEATURES_SEL, select);
      return driver.readRegister(DEVICE_FEATURES);
    });
    expect(features).toEqual([((1 << 0) | (1 << 5) | (1 << 28) | (1 << 29)) >>> 0, (1 << 0) | (1 << 8), 0]);
    expect(driver.readRegister(SHM_LEN_LOW)).toBe(0xffffffff);
    expect(driver.readRegister(SHM_LEN_HIGH)).toBe(0xffffffff);
  });

  test.each([
    ['offered', [VIRTIO_F_VERSION_1, 5, 40], true],
    ['without VERSION_1', [5], false],
    ['not offered, in the low word', [VIRTIO_F_VERSION_1, 7], false],
    ['not offered, in the high word', [VIRTIO_F_VERSION_1, 41], false],
  ])('FEATURES_OK stays set only for acceptable features: %s', (_, features, accepted) => {
    using driver = new VirtioDriver(new CountingDevice());
    expect(driver.negotiate(features)).toBe(accepted);
    if (!accepted) driver.writeRegister(STATUS, 15);
    expect(driver.readRegister(STATUS) & 4).toBe(0);
  });

  test('features beyond 64 bits are refused', () => {
    using driver = new VirtioDriver(new CountingDevice());
    driver.writeRegister(DRIVER_FEATURES_SEL, 2);
    driver.writeRegister(DRIVER_FEATURES, 1);
    expect(driver.negotiate([VIRTIO_F_VERSION_1])).toBe(false);
  });

  test('features do not change after FEATURES_OK', () => {
    using driver = started({ features: [5] });
    driver.writeRegister(DRIVER_FEATURES_SEL, 0);
    driver.writeRegister(DRIVER_FEATURES, 1);
    expect(driver.device.context!.hasFeature(0)).toBe(false);
    expect(driver.device.context!.hasFeature(5)).toBe(true);
    expect(driver.device.context!.hasFeature(40)).toBe(false);
  });

  test('a kick reaches the device, and the used buffer interrupts the driver', () => {
    using driver = started();
    const queue = driver.queueAt(1);
    queue.add([driver.allocate(4)], []);
    driver.writeRegister(QUEUE_NOTIFY, 1);
    expect(driver.device.kicks).toEqual([1]);
    expect(driver.interrupts).toBe(1);
    expect(driver.readRegister(INTERRUPT_STATUS)).toBe(1);
    driver.writeRegister(INTERRUPT_ACK, 1);
    expect(driver.readRegister(INTERRUPT_STATUS)).toBe(0);
    expect(queue.takeUsed()).toBeDefined();
    driver.writeRegister(QUEUE_NOTIFY, 7);
    expect(driver.device.kicks).toEqual([1]);
  });

  test('a kick before DRIVER_OK does not reach the device', () => {
    using driver = new VirtioDriver(new CountingDevice());
    driver.transport.kick(0);
    driver.negotiate([VIRTIO_F_VERSION_1]);
    driver.transport.kick(0);
    expect(driver.device).toMatchObject({ kicks: [] });
  });

  test('a queue that does not exist has size 0 and ignores writes to its registers', () => {
    using driver = new VirtioDriver(new CountingDevice());
    driver.writeRegister(QUEUE_SEL, 1);
    expect(driver.readRegister(QUEUE_NUM_MAX)).toBe(16);
    driver.writeRegister(QUEUE_SEL, 2);
    expect(driver.readRegister(QUEUE_NUM_MAX)).toBe(0);
    driver.writeRegister(QUEUE_READY, 1);
    expect(driver.readRegister(QUEUE_READY)).toBe(0);
  });

  test.each([
    ['larger than the maximum size', { size: 32 }, /queue size 32 exceeds the maximum 16/],
    ['outside memory', { used: 2 ** 40 }, /used ring at 0x10000000000 is outside guest memory/],
    ['misaligned', { descriptors: 0x10008 }, /not aligned to 16/],
  ])('a queue %s sets DEVICE_NEEDS_RESET, and the device works after the reset', (_, change, reason) => {
    using driver = new VirtioDriver(new CountingDevice());
    driver.negotiate([VIRTIO_F_VERSION_1]);
    const queue = new DriverQueue(1, 16, driver);
    driver.writeQueue(Object.assign(Object.create(queue), change));
    driver.writeRegister(QUEUE_READY, 1);
    driver.writeRegister(STATUS, 15);
    expect(driver.failures).toEqual([expect.stringMatching(reason)]);
    expect(driver.readRegister(STATUS)).toBe(15 | 64);
    expect(driver.readRegister(INTERRUPT_STATUS)).toBe(2);
    driver.writeRegister(STATUS, 0);
    expect(driver.readRegister(STATUS)).toBe(0);
    expect(driver.readRegister(INTERRUPT_STATUS)).toBe(0);
    driver.start();
    expect(driver.readRegister(STATUS)).toBe(15);
  });

  test('a broken ring stops the device: interrupt, status, no kicks until the reset', () => {
    using driver = started();
    driver.queueAt(0).makeAvailable(99);
    driver.queueAt(0).kick();
    expect(driver.failures).toEqual(['counting: descriptor 99 is beyond the queue size 8']);
    expect(driver.readRegister(STATUS) & 64).toBe(64);
    expect(driver.interrupts).toBe(1);
    driver.transport.kick(1);
    expect(driver.device.kicks).toEqual([0]);
    driver.writeRegister(STATUS, 0);
    expect(driver.device.resets).toBe(1);
    expect(driver.readRegister(QUEUE_READY)).toBe(0);
  });

  test('configuration space is accessible in any width, and only within its bounds', () => {
    using driver = started();
    for (const width of [1, 2, 4, 8]) {
      const data = new Uint8Array(width);
      driver.transport.read(0x101, data);
      expect([...data]).toEqual([2, 3, 4, 5, 6, 7, 8, 9].slice(0, width));
    }
    const beyond = new Uint8Array(4).fill(9);
    driver.transport.read(0x107, beyond);
    expect([...beyond]).toEqual([0, 0, 0, 0]);
    driver.transport.write(0x102, new Uint8Array([77]));
    driver.transport.write(0x108, new Uint8Array([1, 1, 1, 1]));
    expect([...driver.device.config]).toEqual([1, 2, 77, 4, 5, 6, 7, 8, 9, 10]);
  });

  test('a configuration change causes a new generation and an interrupt', () => {
    using driver = started();
    const before = driver.readRegister(CONFIG_GENERATION);
    driver.device.context!.configChanged();
    expect(driver.readRegister(CONFIG_GENERATION)).not.toBe(before);
    expect(driver.readRegister(INTERRUPT_STATUS)).toBe(2);
  });

  test('a restored transport continues in the middle of its queues', () => {
    using driver = started();
    const piece = driver.allocate(4);
    for (let count = 0; count < 5; count++) {
      driver.queueAt(0).add([piece], []);
      driver.queueAt(0).kick();
      driver.queueAt(0).takeUsed();
    }
    const { interrupts } = driver;
    const next = new CountingDevice();
    const state = driver.replaceDevice(() => next);
    expect(next.served).toBe(5);
    expect(driver.interrupts).toBe(interrupts + 1);
    expect(driver.readRegister(STATUS)).toBe(15);
    expect(driver.transport.save()).toEqual(state);
    driver.queueAt(0).add([piece], []);
    driver.queueAt(0).kick();
    expect(driver.queueAt(0).takeUsed()).toBeDefined();
    expect(next.served).toBe(6);
    expect(next.context!.hasFeature(40)).toBe(true);
  });

  test('random register accesses never throw', () => {
    const access = fc.record({
      offset: fc.oneof(
        fc.nat({ max: 0x110 }),
        fc.nat({ max: 0xfff }),
        fc.constantFrom(0x30, 0x38, 0x44, 0x50, 0x70, 0x80),
      ),
      data: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc.nat({ max: 16 }).map((n) => new Uint8Array([n, 0, 0, 0])),
      ),
      write: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 100 }), fc.boolean(), (accesses, running) => {
        using driver = new VirtioDriver(new CountingDevice(), { memorySize: 256 * 1024 });
        if (running) driver.start();
        for (const { offset, data, write } of accesses) {
          if (write) driver.transport.write(offset, data);
          else driver.transport.read(offset, data);
        }
        // Any resulting state can be saved and restored.
        driver.replaceDevice(() => new CountingDevice());
      }),
      { numRuns: 500 },
    );
  });
});
