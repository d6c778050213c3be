import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VIRTIO_BLK_S_OK, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VirtioBlk } from '../../../../vmm/devices/blk/device.js';
import { VirtioRng } from '../../../../vmm/devices/rng.js';
import * as libc from '../../../../vmm/host/libc.js';
import * as vhost from '../../../../vmm/virtio/vhost-user/messages.js';
import { memoryTable, payload, VhostUserFrontEnd } from '../../../fixtures/vhost-user-front-end.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-vhost-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function openBlk(contents: Buffer): VirtioBlk {
  const path = join(folder, 'disk');
  writeFileSync(path, contents);
  const extents = [{ path, offset: 0, length: contents.length }];
  return VirtioBlk.open({ id: 'scratch', readOnly: false, extents });
}

function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Asks the entropy device for bytes; how many came. */
function askForBytes(frontEnd: VhostUserFrontEnd, length = 32): number | undefined {
  const queue = frontEnd.queueAt(0);
  queue.add([], [frontEnd.allocate(length)]);
  queue.kick();
  frontEnd.turn();
  return queue.takeUsed()?.length;
}

describe('a device behind vhost-user', () => {
  test.each([true, false])('serves its rings (event index: %s)', (eventIndex) => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng(), { eventIndex }).start();
    for (let request = 0; request < 100; request++) {
      expect(askForBytes(frontEnd)).toBe(32);
      expect(frontEnd.wasCalled(0)).toBe(true);
    }
    expect(frontEnd.broken).toEqual([]);
  });

  test('takes rings of any size', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start(1024);
    expect(askForBytes(frontEnd)).toBe(32);
  });

  test('reads and writes its disk', () => {
    using frontEnd = new VhostUserFrontEnd(openBlk(Buffer.alloc(8192, 'old.'))).start();
    const header = frontEnd.allocate(16);
    const data = frontEnd.allocate(1024);
    const status = frontEnd.allocate(1);
    const request = (type: number, sector: number) => {
      frontEnd.bytes(header).set(payload(type, 0, BigInt(sector)));
      frontEnd.bytes(status)[0] = 0xff;
      const [readable, writable] = type === VIRTIO_BLK_T_OUT ? [[header, data], [status]] : [[header], [data, status]];
      frontEnd.queueAt(0).add(readable, writable);
      frontEnd.queueAt(0).kick();
      frontEnd.turn();
      expect(frontEnd.queueAt(0).takeUsed()).toBeDefined();
      return frontEnd.bytes(status)[0];
    };
    expect(request(VIRTIO_BLK_T_IN, 2)).toBe(VIRTIO_BLK_S_OK);
    expect(frontEnd.bytes(data).toString()).toBe('old.'.repeat(256));
    frontEnd.bytes(data).fill('new!');
    expect(request(VIRTIO_BLK_T_OUT, 4)).toBe(VIRTIO_BLK_S_OK);
    expect(readFileSync(join(folder, 'disk'), 'latin1').slice(2048 - 4, 3072 + 4)).toBe(
      `old.${'new!'.repeat(256)}old.`,
    );
  });

  test('shows its configuration space, and 0 behind it', () => {
    using frontEnd = new VhostUserFrontEnd(openBlk(Buffer.alloc(512 * 5)));
    frontEnd.negotiate();
    const whole = frontEnd.ask(vhost.GET_CONFIG, Buffer.concat([payload(0, 256, 0), Buffer.alloc(256)]));
    expect(whole.readBigUInt64LE(12)).toBe(5n);
    expect(whole.subarray(12 + 60).every((byte) => byte === 0)).toBe(true);
    expect(frontEnd.ask(vhost.GET_CONFIG, payload(8, 4, 0, 0)).subarray(12)).toEqual(whole.subarray(20, 24));
  });

  test('has its configuration space written within bounds', () => {
    using frontEnd = new VhostUserFrontEnd(openBlk(Buffer.alloc(512))).start();
    frontEnd.send(vhost.SET_CONFIG, Buffer.concat([payload(32, 1, 0), Buffer.of(0)]));
    expect(frontEnd.device.config[32]).toBe(0);
    frontEnd.send(vhost.SET_CONFIG, Buffer.concat([payload(59, 2, 0), Buffer.of(0, 0)]));
    expect(frontEnd.broken).toEqual(['blk: a write goes beyond the configuration space']);
  });

  test('acknowledges what asks for it', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    frontEnd.negotiate();
    frontEnd.send(vhost.SET_MEM_TABLE, memoryTable([frontEnd.region]), [frontEnd.memoryFd], vhost.FLAG_NEED_REPLY);
    expect(frontEnd.receive(vhost.SET_MEM_TABLE)).toEqual(Buffer.alloc(8));
    expect(frontEnd.ask(vhost.GET_QUEUE_NUM).readBigUInt64LE()).toBe(1n);
  });

  test('takes a message that comes byte by byte', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    for (const byte of payload(vhost.GET_FEATURES, vhost.FLAG_VERSION, 0)) {
      frontEnd.sendBytes(Uint8Array.of(byte));
      frontEnd.turn();
    }
    expect(frontEnd.receive(vhost.GET_FEATURES)).toHaveLength(8);
  });
});

describe('rings', () => {
  test('wait until they are enabled, where there are protocol features', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    frontEnd.negotiate();
    frontEnd.shareMemory();
    frontEnd.setUpRing(0);
    expect(askForBytes(frontEnd)).toBeUndefined();
    frontEnd.enableRing(0);
    expect(frontEnd.queueAt(0).takeUsed()?.length).toBe(32);
  });

  test('start at once, where there are none', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    frontEnd.negotiate(false);
    frontEnd.shareMemory();
    frontEnd.setUpRing(0);
    expect(askForBytes(frontEnd)).toBe(32);
  });

  test('are stopped by asking where they are, and go on from there', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    for (let request = 0; request < 3; request++) askForBytes(frontEnd);
    expect(frontEnd.ask(vhost.GET_VRING_BASE, payload(0, 0))).toEqual(payload(0, 3));
    expect(askForBytes(frontEnd)).toBeUndefined();
    frontEnd.setUpRing(0, 16, 3);
    expect(frontEnd.queueAt(0).takeUsed()?.length).toBe(32);
    expect(askForBytes(frontEnd)).toBe(32);
  });

  test('rest while they are disabled', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    frontEnd.enableRing(0, false);
    expect(askForBytes(frontEnd)).toBeUndefined();
    frontEnd.enableRing(0);
    expect(frontEnd.queueAt(0).takeUsed()?.length).toBe(32);
  });

  test('go on when memory is told anew', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    askForBytes(frontEnd);
    frontEnd.shareMemory();
    expect(askForBytes(frontEnd)).toBe(32);
  });

  test('that the driver breaks stop the device and signal an error, and the connection stays', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    const errFd = frontEnd.createEventFd();
    frontEnd.send(vhost.SET_VRING_ERR, payload(0n), [errFd]);
    frontEnd.queueAt(0).makeAvailable(999);
    frontEnd.queueAt(0).kick();
    frontEnd.turn();
    expect(frontEnd.failures).toEqual(['rng: descriptor 999 is beyond the queue size 16']);
    expect(libc.drainEventFd(errFd)).toBe(true);
    expect(frontEnd.ask(vhost.GET_FEATURES)).toHaveLength(8);
  });
});

describe('the connection is closed by', () => {
  const good = { guestAddress: 0x100000, length: 4096, userAddress: 0x1000, offset: 0 };
  const refused: [string, (frontEnd: VhostUserFrontEnd) => void][] = [
    ['an unknown request', (it) => it.send(99)],
    ['a message of another version', (it) => it.sendBytes(payload(vhost.GET_FEATURES, 2, 0))],
    ['a message that is too long', (it) => it.sendBytes(payload(vhost.SET_FEATURES, 1, 0xffffffff))],
    ['a payload of the wrong size', (it) => it.send(vhost.SET_VRING_NUM, payload(0))],
    ['descriptors where none belong', (it) => it.send(vhost.GET_FEATURES, payload(), [it.memoryFd])],
    ['too many descriptors', (it) => it.send(vhost.SET_MEM_TABLE, payload(0, 0), Array(9).fill(it.memoryFd))],
    ['features that were not offered', (it) => it.send(vhost.SET_FEATURES, payload(1n << 60n))],
    ['protocol features that were not offered', (it) => it.send(vhost.SET_PROTOCOL_FEATURES, payload(1n << 40n))],
    ['a ring that is not there', (it) => it.send(vhost.SET_VRING_NUM, payload(1, 16))],
    ['a table of no regions', (it) => it.send(vhost.SET_MEM_TABLE, payload(0, 0))],
    ['a table with too few descriptors', (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([good]))],
    [
      'a region beyond its file',
      (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([{ ...good, offset: 2 ** 22 }]), [it.memoryFd]),
    ],
    [
      'a region of no bytes',
      (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([{ ...good, length: 0 }]), [it.memoryFd]),
    ],
    [
      'a region within a page',
      (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([{ ...good, offset: 8 }]), [it.memoryFd]),
    ],
    ['memory that is none', (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([good]), [it.createEventFd()])],
    [
      'a kick that cannot be waited for',
      (it) => {
        it.start();
        it.send(vhost.SET_VRING_KICK, payload(0n), [it.memoryFd]);
      },
    ],
    [
      'a kick that is a socket without a peer',
      (it) => {
        it.start();
        const [kept, closed] = libc.createSocketPair();
        libc.close(closed);
        it.send(vhost.SET_VRING_KICK, payload(0n), [kept]);
        libc.close(kept);
      },
    ],
    [
      'a ring outside guest memory',
      (it) => {
        it.negotiate();
        it.shareMemory();
        it.setUpRing(0);
        it.send(vhost.SET_VRING_ADDR, payload(0, 0, 4096n, 8192n, 12288n, 0n));
        it.enableRing(0);
      },
    ],
    [
      'a ring that ends outside guest memory',
      (it) => {
        it.negotiate();
        it.shareMemory();
        it.setUpRing(0);
        it.send(vhost.SET_VRING_NUM, payload(0, 32768));
        const end = it.userAddress(it.memory.start + it.memory.size - 16);
        it.send(vhost.SET_VRING_ADDR, payload(0, 0, end, end, end, 0n));
        it.enableRing(0);
      },
    ],
    [
      'changes to a ring that runs',
      (it) => {
        it.start();
        it.send(vhost.SET_VRING_NUM, payload(0, 8));
      },
    ],
  ];

  test.each(refused)('%s', (_, act) => {
    const before = openFds();
    {
      using frontEnd = new VhostUserFrontEnd(new VirtioRng());
      act(frontEnd);
      frontEnd.turn();
      expect(frontEnd.broken).toHaveLength(1);
      expect(frontEnd.isClosed).toBe(true);
    }
    expect(openFds()).toBe(before);
  });

  test('a front-end that goes away, which is no fault', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    frontEnd.disconnect();
    expect(frontEnd.isClosed).toBe(true);
    expect(frontEnd.broken).toEqual([]);
  });
});

test('no sequence of messages does more than close the connection', () => {
  const word = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 0xffffffff }));
  const message = fc.record({
    request: fc.integer({ min: 0, max: 42 }),
    flags: fc.constantFrom(0, vhost.FLAG_NEED_REPLY),
    words: fc.array(word, { maxLength: 16 }),
    fds: fc.array(fc.constantFrom('memory', 'eventfd'), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 20 }), fc.boolean(), (messages, started) => {
      const before = openFds();
      {
        using frontEnd = new VhostUserFrontEnd(new VirtioRng());
        if (started) frontEnd.start();
        using other = new VhostUserFrontEnd(new VirtioRng()).start();
        for (const { request, flags, words, fds } of messages) {
          const sent = fds.map((kind) => (kind === 'memory' ? frontEnd.memoryFd : frontEnd.createEventFd()));
          frontEnd.send(request, payload(...words), sent, flags);
        }
        expect(frontEnd.broken.length).toBeLessThanOrEqual(1);
        expect(askForBytes(other)).toBe(32);
      }
      expect(openFds()).toBe(before);
    }),
    { numRuns: 300 },
  );
});

test('random bytes do no more than close the connection', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), (pieces) => {
      using frontEnd = new VhostUserFrontEnd(new VirtioRng());
      for (const piece of pieces) {
        frontEnd.sendBytes(piece);
        frontEnd.turn();
      }
      expect(frontEnd.broken.length).toBeLessThanOrEqual(1);
    }),
  );
});
