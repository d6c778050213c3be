import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
  VirtioBalloon,
} from '../../../../vmm/devices/balloon.js';
import { INTERRUPT_STATUS } from '../../../../vmm/virtio/mmio-registers.js';
import { type Piece, VirtioDriver } from '../../../fixtures/virtio-driver.js';

const PAGE = 4096;
const [INFLATE, DEFLATE, STATS, REPORTING] = [0, 1, 2, 3];

class BalloonDriver extends VirtioDriver {
  static open(options = {}): BalloonDriver {
    return new BalloonDriver(new VirtioBalloon(), options).start();
  }

  get balloon(): VirtioBalloon {
    return this.device as VirtioBalloon;
  }

  /** Pages with a byte in each that is not zero. */
  pages(count: number): Piece {
    const piece = this.allocate(count * PAGE, PAGE);
    this.bytes(piece).fill(0xaa);
    return piece;
  }

  sendNumbers(queue: number, numbers: number[]): void {
    const piece = this.allocate(numbers.length * 4);
    for (const [index, number] of numbers.entries()) this.bytes(piece).writeUInt32LE(number, index * 4);
    this.queues[queue].add([piece], []);
    this.queues[queue].kick();
    expect(this.queues[queue].takeUsed()?.length).toBe(0);
  }

  addStats(stats: [tag: number, value: bigint][]): void {
    const piece = this.allocate(stats.length * 10);
    for (const [index, [tag, value]] of stats.entries()) {
      this.bytes(piece).writeUInt16LE(tag, index * 10);
      this.bytes(piece).writeBigUInt64LE(value, index * 10 + 2);
    }
    this.queues[STATS].add([piece], []);
    this.queues[STATS].kick();
  }

  /** Which of the pages hold what was written: x, and which zeroes: dot. */
  look({ address, length }: Piece): string {
    const firsts = Array.from({ length: length / PAGE }, (_, page) =>
      this.bytes({ address: address + page * PAGE, length: PAGE }),
    );
    return firsts
      .map((page) => (page.every((byte) => byte === 0) ? '.' : page.every((b) => b === 0xaa) ? 'x' : '?'))
      .join('');
  }
}

describe('balloon', () => {
  test('pages in it are given back, in whatever order they come', () => {
    using driver = BalloonDriver.open();
    const pages = driver.pages(10);
    const first = pages.address / PAGE;
    driver.sendNumbers(
      INFLATE,
      [2, 3, 4, 8, 7, 6, 0].map((page) => first + page),
    );
    expect(driver.look(pages)).toBe('.x...x...x');
    driver.sendNumbers(
      INFLATE,
      [5, 5, 5].map((page) => first + page),
    );
    expect(driver.look(pages)).toBe('.x.......x');
  });

  test('pages taken out of it are there again once they are written', () => {
    using driver = BalloonDriver.open();
    const pages = driver.pages(2);
    const first = pages.address / PAGE;
    driver.sendNumbers(INFLATE, [first, first + 1]);
    driver.sendNumbers(DEFLATE, [first]);
    driver.bytes({ ...pages, length: PAGE }).fill(0xaa);
    expect(driver.look(pages)).toBe('x.');
  });

  test('free pages that are reported are given back, but no part of a page', () => {
    using driver = BalloonDriver.open();
    const pages = driver.pages(9);
    const at = (page: number, length: number, skip = 0) => ({ address: pages.address + page * PAGE + skip, length });
    driver.queues[REPORTING].add([], [at(0, 2 * PAGE), at(3, PAGE), at(4, 3 * PAGE - 8, 4), at(7, 100)]);
    driver.queues[REPORTING].kick();
    expect(driver.queues[REPORTING].takeUsed()?.length).toBe(0);
    expect(driver.look(pages)).toBe('..x.x.xxx');
  });

  test('is asked for by the host, and tells how large it is', () => {
    using driver = BalloonDriver.open();
    driver.balloon.inflateTo(10 * PAGE + 5);
    expect(new DataView(driver.device.config.buffer).getUint32(0, true)).toBe(10);
    expect(driver.readRegister(INTERRUPT_STATUS) & 2).toBe(2);
    driver.transport.write(0x104, new Uint8Array([7, 0, 0, 0]));
    expect(driver.balloon.size).toBe(7 * PAGE);
    // What the host asks for is not the driver's to change.
    driver.transport.write(0x100, new Uint8Array([9, 0, 0, 0]));
    expect(new DataView(driver.device.config.buffer).getUint32(0, true)).toBe(10);
  });

  test('statistics are the last ones, and asking for new ones gives the buffer back', () => {
    using driver = BalloonDriver.open();
    driver.balloon.requestStats();
    driver.addStats([
      [4, 1000n],
      [5, 2n ** 33n],
      [99, 1n],
    ]);
    expect(driver.queues[STATS].takeUsed()).toBeUndefined();
    expect(driver.balloon.stats).toEqual({ free: 1000, total: 2 ** 33 });
    driver.balloon.requestStats();
    expect(driver.queues[STATS].takeUsed()?.length).toBe(0);
    driver.balloon.requestStats();
    expect(driver.queues[STATS].takeUsed()).toBeUndefined();
    driver.addStats([
      [4, 5n],
      [7, 6n],
    ]);
    expect(driver.balloon.stats).toEqual({ free: 5, total: 2 ** 33, caches: 6 });
  });

  test('a driver that gives two buffers for statistics gets one back each time', () => {
    using driver = BalloonDriver.open();
    driver.addStats([[4, 1n]]);
    driver.addStats([[4, 2n]]);
    expect(driver.balloon.stats).toEqual({ free: 1 });
    driver.balloon.requestStats();
    expect(driver.queues[STATS].takeUsed()).toBeDefined();
    expect(driver.queues[STATS].takeUsed()).toBeUndefined();
    expect(driver.balloon.stats).toEqual({ free: 2 });
  });

  test('without statistics, reporting has the queue before (virtio 1.2, 5.5.2)', () => {
    using driver = BalloonDriver.open({ features: [VIRTIO_BALLOON_F_REPORTING] });
    const pages = driver.pages(2);
    driver.queues[2].add([], [{ ...pages, length: PAGE }]);
    driver.queues[2].kick();
    expect(driver.look(pages)).toBe('.x');
  });

  test('without reporting, nothing is taken for a report', () => {
    using driver = BalloonDriver.open({ features: [VIRTIO_BALLOON_F_STATS_VQ] });
    const pages = driver.pages(1);
    driver.queues[REPORTING].add([], [pages]);
    driver.queues[REPORTING].kick();
    expect(driver.look(pages)).toBe('x');
  });

  test('a new device goes on where a saved one was', () => {
    using driver = BalloonDriver.open();
    driver.balloon.inflateTo(3 * PAGE);
    driver.addStats([[4, 7n]]);
    const pages = driver.pages(2);
    driver.queues[REPORTING].add([], [{ ...pages, length: PAGE }]);
    driver.replaceDevice(() => new VirtioBalloon());
    expect(driver.look(pages)).toBe('.x');
    expect(driver.balloon.stats).toEqual({ free: 7 });
    expect(new DataView(driver.device.config.buffer).getUint32(0, true)).toBe(3);
    driver.balloon.requestStats();
    expect(driver.queues[STATS].takeUsed()?.length).toBe(0);
  });

  test('whatever numbers come, only whole pages of the guest change', () => {
    const memory = 1024 * 1024;
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat({ max: 300 }), fc.integer({ min: 0, max: 2 ** 32 - 1 })), { maxLength: 60 }),
        fc.array(fc.record({ address: fc.nat({ max: 0x120000 }), length: fc.nat({ max: 20_000 }) }), { maxLength: 6 }),
        (numbers, reported) => {
          using driver = BalloonDriver.open({ memorySize: memory });
          const pages = driver.pages(20);
          const piece = driver.allocate(Math.max(numbers.length, 1) * 4);
          for (const [index, number] of numbers.entries()) driver.bytes(piece).writeUInt32LE(number, index * 4);
          driver.queues[REPORTING].add([], reported);
          driver.queues[INFLATE].add([piece], []);
          driver.queues[INFLATE].kick();
          driver.queues[REPORTING].kick();
          // Guards on both sides are looked at when the driver is disposed of.
          expect(driver.look(pages)).not.toContain('?');
        },
      ),
      { numRuns: 100 },
    );
  });
});
