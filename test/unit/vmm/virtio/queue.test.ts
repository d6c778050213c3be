// The device's side of a split virtqueue: chains, notifications, and refusal of invalid rings.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VirtioRng } from '../../../../vmm/devices/rng.js';
import { allocateIovecs } from '../../../../vmm/virtio/buffers.js';
import { DescriptorChain, Virtqueue, VirtqueueError, type VirtqueueLayout } from '../../../../vmm/virtio/queue.js';
import { DriverQueue, GuardedMemory, type Piece, VirtioDriver } from '../../../fixtures/virtio-driver.js';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

/** A queue with the driver's side and the device's side. The test acts as the device. */
class Pair extends VirtioDriver {
  readonly driverQueue: DriverQueue;
  readonly queue: Virtqueue;
  readonly chain: DescriptorChain;
  readonly reasons: string[] = [];

  constructor(size: number, { eventIndex = true, indirect = true, capacity = size } = {}) {
    super(new VirtioRng(), { memorySize: 1024 * 1024, eventIndex });
    this.driverQueue = new DriverQueue(0, size, this);
    this.queue = new Virtqueue(this.layout, {
      memory: this.memory,
      eventIndex,
      indirect,
      fail: (reason) => this.reasons.push(reason),
    });
    this.chain = new DescriptorChain(this.memory, capacity);
  }

  get layout(): VirtqueueLayout {
    const { size, descriptors, available, used } = this.driverQueue;
    return { size, descriptorTable: descriptors, availableRing: available, usedRing: used };
  }

  /** Returns the guest addresses of a chain's buffers, computed from its iovecs. */
  pieces(list: DescriptorChain['readable']): Piece[] {
    const iovecs = allocateIovecs(list.capacity);
    const count = list.iovecs(0, list.length, iovecs);
    const base = this.memory.hostAddress(this.memory.start, 0);
    return Array.from({ length: count }, (_, index) => ({
      address: iovecs[index * 4]! + iovecs[index * 4 + 1]! * 2 ** 32 - base + this.memory.start,
      length: iovecs[index * 4 + 2]!,
    }));
  }

  /** Makes one descriptor available unchanged. */
  offer(address: number, length: number, flags: number, next = 0): void {
    this.driverQueue.writeDescriptor(this.driverQueue.descriptors, address, length, flags, next);
    this.driverQueue.makeAvailable(0);
  }
}

describe('virtqueue', () => {
  test('popped chains equal the added ones, also when the indices wrap', () => {
    const chain = fc.record({
      readable: fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 3 }),
      writable: fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 3 }),
      indirect: fc.boolean(),
    });
    const batches = fc.array(fc.array(chain, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(batches, fc.boolean(), (rounds, eventIndex) => {
        using pair = new Pair(32, { eventIndex });
        const area = pair.allocate(64 * 1024);
        const tables = pair.allocate(64 * 1024);
        pair.driverQueue.startAt(65520);
        pair.queue.restore({ nextAvailable: 65520, nextUsed: 65520 });
        for (const round of rounds) {
          const added: { head: number; readable: Piece[]; writable: Piece[] }[] = [];
          let table = tables.address;
          for (const { readable, writable, indirect } of round) {
            let at = area.address;
            const place = (length: number): Piece => {
              const piece = { address: at, length };
              at += length;
              return piece;
            };
            const pieces = { readable: readable.map(place), writable: writable.map(place) };
            if (readable.length + writable.length === 0) pieces.readable.push(place(1));
            const tablePiece = { address: table, length: 0 };
            table += 16 * 8;
            added.push({
              head: pair.driverQueue.add(pieces.readable, pieces.writable, indirect ? tablePiece : undefined),
              ...pieces,
            });
          }
          for (const { head, readable, writable } of added) {
            expect(pair.queue.pop(pair.chain)).toBe(true);
            expect(pair.chain.head).toBe(head);
            expect(pair.pieces(pair.chain.readable)).toEqual(readable);
            expect(pair.pieces(pair.chain.writable)).toEqual(writable);
            pair.queue.push(head, 7);
            expect(pair.driverQueue.takeUsed()).toEqual({ head, length: 7 });
          }
          expect(pair.queue.pop(pair.chain)).toBe(false);
        }
        expect(pair.reasons).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  test.each([true, false])(
    'when both sides sleep, no available chain and no used buffer remains (event index: %s)',
    (eventIndex) => {
      const step = fc.record({ add: fc.nat({ max: 5 }), serve: fc.nat({ max: 5 }) });
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
          using pair = new Pair(16, { eventIndex });
          const piece = pair.allocate(64);
          let awake = false;
          let outstanding = 0;
          pair.queue.enableKicks();
          for (const { add, serve } of steps) {
            for (let count = 0; count < add && pair.driverQueue.free > 0; count++) {
              pair.driverQueue.add([piece], []);
              outstanding++;
            }
            // A kick wakes the device. It sleeps only after enableKicks found no chain.
            if (pair.driverQueue.wantsKick) awake = true;
            if (awake) {
              pair.queue.disableKicks();
              let served = 0;
              while (served < serve && pair.queue.pop(pair.chain)) {
                pair.queue.push(pair.chain.head, 0);
                served++;
              }
              if (served < serve) awake = pair.queue.enableKicks();
            }
            const interrupts = pair.queue.needsNotification();
            let taken = 0;
            if (interrupts) while (pair.driverQueue.takeUsed() !== undefined) taken++;
            outstanding -= taken;
            // If the device sleeps, no chain is available. If the driver was not interrupted, no
            // buffer is used.
            if (!awake) expect(pair.queue.pop(pair.chain)).toBe(false);
            if (!interrupts) expect(pair.driverQueue.takeUsed()).toBeUndefined();
            if (!awake) expect(outstanding).toBe(0);
          }
        }),
        { numRuns: 300 },
      );
    },
  );

  test('a driver that suppresses interrupts receives none', () => {
    using plain = new Pair(8, { eventIndex: false });
    plain.driverQueue.suppressInterrupts(true);
    plain.driverQueue.add([plain.allocate(4)], []);
    plain.queue.pop(plain.chain);
    plain.queue.push(plain.chain.head, 0);
    expect(plain.queue.needsNotification()).toBe(false);
    using indexed = new Pair(8);
    indexed.driverQueue.requestInterruptAt(1);
    for (const interrupts of [false, true, false]) {
      indexed.driverQueue.add([indexed.allocate(4)], []);
      indexed.queue.pop(indexed.chain);
      indexed.queue.push(indexed.chain.head, 0);
      expect(indexed.queue.needsNotification()).toBe(interrupts);
      expect(indexed.queue.needsNotification()).toBe(false);
    }
  });

  test('a chain that was returned with unpop is popped again', () => {
    using pair = new Pair(8);
    const heads = [pair.driverQueue.add([pair.allocate(4)], []), pair.driverQueue.add([pair.allocate(4)], [])];
    for (const head of heads) {
      pair.queue.pop(pair.chain);
      expect(pair.chain.head).toBe(head);
    }
    pair.queue.unpop(2);
    for (const head of heads) {
      pair.queue.pop(pair.chain);
      expect(pair.chain.head).toBe(head);
    }
  });

  test('each violation of the protocol breaks the queue and reports a reason', () => {
    const start = 0x10000;
    const end = start + 1024 * 1024;
    const cases: [string, RegExp, (pair: Pair) => void][] = [
      [
        'a head index beyond the table',
        /descriptor 8 is beyond the queue size 8/,
        (p) => p.driverQueue.makeAvailable(8),
      ],
      ['a next index beyond the table', /descriptor 9 is beyond the queue/, (p) => p.offer(start, 1, NEXT, 9)],
      ['a loop', /loop/, (p) => p.offer(start, 1, NEXT, 0)],
      ['a buffer below memory', /outside guest memory/, (p) => p.offer(start - 1, 2, 0)],
      ['a buffer beyond memory', /outside guest memory/, (p) => p.offer(end - 1, 2, 0)],
      ['an address that wraps', /outside guest memory/, (p) => p.offer(2 ** 53, 0xffffffff, 0)],
      ['an empty buffer outside memory', /outside guest memory/, (p) => p.offer(end + 1, 0, WRITE)],
      ['an indirect table outside memory', /indirect table at .* outside/, (p) => p.offer(end - 8, 16, INDIRECT)],
      [
        'an empty indirect table',
        /an indirect table has an invalid length of 0 bytes/,
        (p) => p.offer(start, 0, INDIRECT),
      ],
      [
        'an indirect table of one and a half descriptors',
        /an indirect table has an invalid length of 24 bytes/,
        (p) => p.offer(start, 24, INDIRECT),
      ],
      [
        'an indirect descriptor with a next one',
        /an indirect descriptor has a next/,
        (p) => p.offer(start, 16, INDIRECT | NEXT, 1),
      ],
      [
        'an indirect descriptor in an indirect table',
        /an indirect table contains an indirect descriptor/,
        (p) => {
          const table = p.allocate(16);
          p.driverQueue.writeDescriptor(table.address, start, 16, INDIRECT, 0);
          p.offer(table.address, 16, INDIRECT);
        },
      ],
      [
        'a loop in an indirect table',
        /loop/,
        (p) => {
          const table = p.allocate(16);
          p.driverQueue.writeDescriptor(table.address, start, 0, NEXT, 0);
          p.offer(table.address, 16, INDIRECT);
        },
      ],
      [
        'a readable buffer after a writable one',
        /readable descriptor follows/,
        (p) => {
          p.driverQueue.writeDescriptor(p.driverQueue.descriptors + 16, start, 1, 0, 0);
          p.offer(start, 1, WRITE | NEXT, 1);
        },
      ],
      [
        'an available index too far ahead',
        /available index is 9 ahead/,
        (p) => {
          for (let count = 0; count < 9; count++) p.driverQueue.makeAvailable(0);
        },
      ],
      [
        'more buffers than the device accepts',
        /more than 8 buffers/,
        (p) => {
          const table = p.allocate(16 * 9);
          for (let at = 0; at < 9; at++) {
            p.driverQueue.writeDescriptor(table.address + at * 16, start, 1, at < 8 ? NEXT : 0, at + 1);
          }
          p.offer(table.address, 16 * 9, INDIRECT);
        },
      ],
    ];
    for (const [name, reason, offend] of cases) {
      using pair = new Pair(8);
      offend(pair);
      expect(pair.queue.pop(pair.chain), name).toBe(false);
      expect(pair.reasons, name).toEqual([expect.stringMatching(reason)]);
      pair.driverQueue.add([pair.allocate(1)], []);
      expect(pair.queue.pop(pair.chain), name).toBe(false);
      expect(pair.reasons.length, name).toBe(1);
    }
    using pair = new Pair(8, { indirect: false });
    pair.offer(start, 16, INDIRECT);
    expect(pair.queue.pop(pair.chain)).toBe(false);
    expect(pair.reasons[0]).toMatch(/not negotiated/);
  });

  test('rings that are misaligned, outside memory or of an invalid size are refused', () => {
    using memory = GuardedMemory.allocate(1024 * 1024);
    const good = { size: 8, descriptorTable: 0x10000, availableRing: 0x11000, usedRing: 0x12000 };
    const options = { memory, eventIndex: true, indirect: true, fail: () => {} };
    expect(new Virtqueue(good, options).size).toBe(8);
    const end = 0x10000 + 1024 * 1024;
    for (const change of [
      { size: 0 },
      { size: 3 },
      { size: 65536 },
      { size: -8 },
      { descriptorTable: 0x10008 },
      { availableRing: 0x11001 },
      { usedRing: 0x12002 },
      { descriptorTable: end - 16 },
      { availableRing: 0 },
      { usedRing: 2 ** 63 },
    ]) {
      expect(() => new Virtqueue({ ...good, ...change }, options)).toThrow(VirtqueueError);
    }
  });

  test('random rings never yield buffers outside memory and never hang', () => {
    const near = fc.oneof(fc.nat({ max: 0x30000 }), fc.constantFrom(0x10000, 0x1fff0, 0x20000, 2 ** 40, 2 ** 63));
    const descriptor = fc.record({
      address: near,
      length: fc.oneof(fc.nat({ max: 0x200 }), fc.constantFrom(0, 16, 32, 0xffffffff)),
      flags: fc.oneof(fc.nat({ max: 7 }), fc.nat({ max: 0xffff })),
      next: fc.oneof(fc.nat({ max: 15 }), fc.nat({ max: 0xffff })),
    });
    const table = fc.array(descriptor, { minLength: 16, maxLength: 16 });
    const heads = fc.array(fc.oneof(fc.nat({ max: 15 }), fc.nat({ max: 0xffff })), { maxLength: 20 });
    fc.assert(
      fc.property(table, table, heads, fc.boolean(), (direct, indirect, available, eventIndex) => {
        using pair = new Pair(16, { eventIndex });
        const { driverQueue, memory, queue, chain } = pair;
        const tablePiece = pair.allocate(256);
        for (const [at, { address, length, flags, next }] of direct.entries()) {
          const where = (flags & INDIRECT) !== 0 && address % 2 === 0 ? tablePiece.address : address;
          driverQueue.writeDescriptor(driverQueue.descriptors + at * 16, where, length, flags, next);
        }
        for (const [at, { address, length, flags, next }] of indirect.entries()) {
          driverQueue.writeDescriptor(tablePiece.address + at * 16, address, length, flags, next);
        }
        for (const head of available) driverQueue.makeAvailable(head);
        let popped = 0;
        while (queue.pop(chain)) {
          popped++;
          for (const list of [chain.readable, chain.writable]) {
            expect(list.count).toBeLessThanOrEqual(list.capacity);
            let total = 0;
            for (const { address, length } of pair.pieces(list)) {
              expect(address).toBeGreaterThanOrEqual(memory.start);
              expect(address + length).toBeLessThanOrEqual(memory.start + memory.size);
              total += length;
            }
            expect(total).toBe(list.length);
          }
          queue.push(chain.head, 0);
          queue.needsNotification();
        }
        expect(popped).toBeLessThanOrEqual(16);
      }),
      { numRuns: 500 },
    );
  });

  test('copies work across buffers and at any offset', () => {
    using pair = new Pair(16);
    const pieces = [5, 1, 200, 64, 65].map((length) => pair.allocate(length));
    pair.driverQueue.add([], pieces);
    pair.queue.pop(pair.chain);
    const list = pair.chain.writable;
    const model = Buffer.from(Array.from({ length: list.length }, (_, at) => at));
    fc.assert(
      fc.property(fc.nat({ max: list.length }), fc.nat({ max: list.length + 10 }), (offset, length) => {
        const room = Math.max(0, Math.min(length, list.length - offset));
        expect(list.write(offset, model.subarray(offset), Math.min(length, model.length - offset))).toBe(room);
        const out = Buffer.alloc(length);
        expect(list.read(offset, out)).toBe(room);
        expect(out.subarray(0, room).equals(model.subarray(offset, offset + room))).toBe(true);
      }),
    );
  });
});
