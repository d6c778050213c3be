// The memory balloon: free page reporting, and pages that the driver puts in unasked.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VirtioBalloon } from '../../../../vmm/devices/balloon.js';
import { type Piece, VirtioDriver } from '../../../fixtures/virtio-driver.js';

const PAGE = 4096;
const [INFLATE, DEFLATE, REPORTING] = [0, 1, 2];

class BalloonDriver extends VirtioDriver {
  static open(options = {}): BalloonDriver {
    return new BalloonDriver(new VirtioBalloon(), options).start();
  }

  /** Allocates pages and fills them with a byte that is not zero. */
  pages(count: number): Piece {
    const piece = this.allocate(count * PAGE, PAGE);
    this.bytes(piece).fill(0xaa);
    return piece;
  }

  sendNumbers(queue: number, numbers: number[]): void {
    const piece = this.allocate(numbers.length * 4);
    for (const [index, number] of numbers.entries()) this.bytes(piece).writeUInt32LE(number, index * 4);
    this.queueAt(queue).add([piece], []);
    this.queueAt(queue).kick();
    expect(this.queueAt(queue).takeUsed()?.length).toBe(0);
  }

  /** Returns one character per page: `x` for the written byte, a dot for zeroes, else `?`. */
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
  test('pages that the driver inflates and deflates unasked keep their contents', () => {
    using driver = BalloonDriver.open();
    const pages = driver.pages(2);
    const first = pages.address / PAGE;
    driver.sendNumbers(INFLATE, [first, first + 1]);
    driver.sendNumbers(DEFLATE, [first]);
    expect(driver.look(pages)).toBe('xx');
  });

  test('reported free pages are returned to the host, but only whole pages', () => {
    using driver = BalloonDriver.open();
    const pages = driver.pages(9);
    const at = (page: number, length: number, skip = 0) => ({ address: pages.address + page * PAGE + skip, length });
    driver.queueAt(REPORTING).add([], [at(0, 2 * PAGE), at(3, PAGE), at(4, 3 * PAGE - 8, 4), at(7, 100)]);
    driver.queueAt(REPORTING).kick();
    expect(driver.queueAt(REPORTING).takeUsed()?.length).toBe(0);
    expect(driver.look(pages)).toBe('..x.x.xxx');
  });

  test('without the reporting feature, the reporting queue is ignored', () => {
    using driver = BalloonDriver.open({ features: [] });
    const pages = driver.pages(1);
    driver.queueAt(REPORTING).add([], [pages]);
    driver.queueAt(REPORTING).kick();
    expect(driver.look(pages)).toBe('x');
  });

  test('a restored device continues where the saved one stopped', () => {
    using driver = BalloonDriver.open();
    const pages = driver.pages(2);
    driver.queueAt(REPORTING).add([], [{ ...pages, length: PAGE }]);
    driver.replaceDevice(() => new VirtioBalloon());
    expect(driver.look(pages)).toBe('.x');
  });

  test('for any page numbers, only whole pages of the guest change', () => {
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
          if (reported.length > 0) driver.queueAt(REPORTING).add([], reported);
          driver.queueAt(INFLATE).add([piece], []);
          driver.queueAt(INFLATE).kick();
          driver.queueAt(REPORTING).kick();
          // The guards on both sides are checked when the driver is disposed.
          expect(driver.look(pages)).not.toContain('?');
        },
      ),
      { numRuns: 100 },
    );
  });
});
