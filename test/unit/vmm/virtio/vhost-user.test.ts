// The vhost-user back-end: devices served to a front-end, and the messages that it refuses.
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
  return VirtioBlk.open({ id: 'layer', readOnly: false, extents });
}

function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Requests bytes from the entropy device. Returns the number of bytes received. */
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

  test('calls a sleeping front-end again until it has read the call', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng(), { repeatsCalls: true }).start();
    const [ours, theirs] = frontEnd.createSockets();
    frontEnd.send(vhost.SET_VRING_CALL, payload(0n), [theirs]);
    expect(askForBytes(frontEnd)).toBe(32);
    const fire = () => {
      while (frontEnd.loop.poll(-1) === 0);
    };
    const calls = Buffer.alloc(64);
    fire();
    fire();
    expect(libc.read(ours, calls, calls.length)).toBe(3 * 8);
    fire();
    expect(libc.read(ours, calls, calls.length)).toBe(-1);
    expect(frontEnd.loop.poll(50)).toBe(0);
    expect(askForBytes(frontEnd)).toBe(32);
    expect(libc.read(ours, calls, calls.length)).toBe(8);
  });

  test('accepts rings of any size', () => {
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

  test('returns its configuration space, and 0 beyond its end', () => {
    using frontEnd = new VhostUserFrontEnd(openBlk(Buffer.alloc(512 * 5)));
    frontEnd.negotiate();
    const whole = frontEnd.ask(vhost.GET_CONFIG, Buffer.concat([payload(0, 256, 0), Buffer.alloc(256)]));
    expect(whole.readBigUInt64LE(12)).toBe(5n);
    expect(whole.subarray(12 + 60).every((byte) => byte === 0)).toBe(true);
    expect(frontEnd.ask(vhost.GET_CONFIG, payload(8, 4, 0, 0)).subarray(12)).toEqual(whole.subarray(20, 24));
  });

  test('accepts writes within the bounds of its configuration space', () => {
    using frontEnd = new VhostUserFrontEnd(openBlk(Buffer.alloc(512))).start();
    frontEnd.send(vhost.SET_CONFIG, Buffer.concat([payload(32, 1, 0), Buffer.of(0)]));
    expect(frontEnd.device.config[32]).toBe(0);
    frontEnd.send(vhost.SET_CONFIG, Buffer.concat([payload(59, 2, 0), Buffer.of(0, 0)]));
    expect(frontEnd.broken).toEqual(['blk: a write goes beyond the configuration space']);
  });

  test('acknowledges a message that asks for it', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    frontEnd.negotiate();
    frontEnd.send(vhost.SET_MEM_TABLE, memoryTable([frontEnd.region]), [frontEnd.memoryFd], vhost.FLAG_NEED_REPLY);
    expect(frontEnd.receive(vhost.SET_MEM_TABLE)).toEqual(Buffer.alloc(8));
    expect(frontEnd.ask(vhost.GET_QUEUE_NUM).readBigUInt64LE()).toBe(1n);
  });

  test('takes a memory table with room for more regions, as virtio_uml sends it', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    frontEnd.negotiate();
    const table = Buffer.concat([memoryTable([frontEnd.region]), Buffer.alloc(32, 0xff)]);
    frontEnd.send(vhost.SET_MEM_TABLE, table, [frontEnd.memoryFd]);
    frontEnd.setUpRing(0);
    frontEnd.enableRing(0);
    expect(askForBytes(frontEnd)).toBe(32);
    expect(frontEnd.broken).toEqual([]);
    frontEnd.send(vhost.SET_MEM_TABLE, Buffer.concat([table, Buffer.alloc(8)]), [frontEnd.memoryFd]);
    expect(frontEnd.isClosed).toBe(true);
  });

  test('counts the memory that the shared file occupies, until the connection ends', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    expect(askForBytes(frontEnd)).toBe(32);
    const { size } = frontEnd.memory;
    expect(frontEnd.backend.residentMemory).toBeGreaterThan(0);
    expect(frontEnd.backend.residentMemory).toBeLessThan(size);
    const open = openFds();
    frontEnd.backend[Symbol.dispose]();
    expect(frontEnd.backend.residentMemory).toBe(0);
    expect(openFds()).toBeLessThan(open);
  });

  test('keeps the channel for its requests open, if it has one', () => {
    const [front, back] = libc.createPipe();
    using frontEnd = new VhostUserFrontEnd(new VirtioRng(), { hasBackendRequests: true });
    const offered = frontEnd.ask(vhost.GET_PROTOCOL_FEATURES).readUInt32LE();
    expect(offered & (1 << vhost.VHOST_USER_PROTOCOL_F_BACKEND_REQ)).not.toBe(0);
    frontEnd.negotiate();
    frontEnd.send(vhost.SET_BACKEND_REQ_FD, Buffer.alloc(0), [back]);
    libc.close(back);
    libc.fcntl(front, libc.F_SETFL, libc.O_NONBLOCK);
    const read = () => libc.read(front, new Uint8Array(1), 1);
    expect(frontEnd.ask(vhost.GET_QUEUE_NUM).readBigUInt64LE()).toBe(1n);
    expect([read(), libc.errno()]).toEqual([-1, libc.EAGAIN]);
    frontEnd.backend[Symbol.dispose]();
    expect(read()).toBe(0);
    libc.close(front);
  });

  test('accepts a message that arrives byte by byte', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    for (const byte of payload(vhost.GET_FEATURES, vhost.FLAG_VERSION, 0)) {
      frontEnd.sendBytes(Uint8Array.of(byte));
      frontEnd.turn();
    }
    expect(frontEnd.receive(vhost.GET_FEATURES)).toHaveLength(8);
  });
});

describe('rings', () => {
  test('wait until they are enabled if there are protocol features', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    frontEnd.negotiate();
    frontEnd.shareMemory();
    frontEnd.setUpRing(0);
    expect(askForBytes(frontEnd)).toBeUndefined();
    frontEnd.enableRing(0);
    expect(frontEnd.queueAt(0).takeUsed()?.length).toBe(32);
  });

  test('start at once if there are no protocol features', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng());
    frontEnd.negotiate(false);
    frontEnd.shareMemory();
    frontEnd.setUpRing(0);
    expect(askForBytes(frontEnd)).toBe(32);
  });

  test('are stopped by GET_VRING_BASE, and continue from its reply', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    for (let request = 0; request < 3; request++) askForBytes(frontEnd);
    expect(frontEnd.ask(vhost.GET_VRING_BASE, payload(0, 0))).toEqual(payload(0, 3));
    expect(askForBytes(frontEnd)).toBeUndefined();
    frontEnd.setUpRing(0, 16, 3);
    expect(frontEnd.queueAt(0).takeUsed()?.length).toBe(32);
    expect(askForBytes(frontEnd)).toBe(32);
  });

  test('are not served while they are disabled', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    frontEnd.enableRing(0, false);
    expect(askForBytes(frontEnd)).toBeUndefined();
    frontEnd.enableRing(0);
    expect(frontEnd.queueAt(0).takeUsed()?.length).toBe(32);
  });

  test('continue after a new memory table', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    askForBytes(frontEnd);
    frontEnd.shareMemory();
    expect(askForBytes(frontEnd)).toBe(32);
  });

  test('that the driver breaks stop the device and signal an error; the connection stays', () => {
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
    ['descriptors with a request that has none', (it) => it.send(vhost.GET_FEATURES, payload(), [it.memoryFd])],
    ['too many descriptors', (it) => it.send(vhost.SET_MEM_TABLE, payload(0, 0), Array(9).fill(it.memoryFd))],
    ['features that were not offered', (it) => it.send(vhost.SET_FEATURES, payload(1n << 60n))],
    ['protocol features that were not offered', (it) => it.send(vhost.SET_PROTOCOL_FEATURES, payload(1n << 40n))],
    ['a ring that does not exist', (it) => it.send(vhost.SET_VRING_NUM, payload(1, 16))],
    ['an empty memory table', (it) => it.send(vhost.SET_MEM_TABLE, payload(0, 0))],
    ['a memory table with too few descriptors', (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([good]))],
    [
      'a region beyond its file',
      (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([{ ...good, offset: 2 ** 22 }]), [it.memoryFd]),
    ],
    ['an empty region', (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([{ ...good, length: 0 }]), [it.memoryFd])],
    [
      'a region that starts within a page',
      (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([{ ...good, offset: 8 }]), [it.memoryFd]),
    ],
    [
      'a descriptor that cannot be mapped',
      (it) => it.send(vhost.SET_MEM_TABLE, memoryTable([good]), [it.createEventFd()]),
    ],
    [
      'a kick descriptor that epoll does not support',
      (it) => {
        it.start();
        it.send(vhost.SET_VRING_KICK, payload(0n), [it.memoryFd]);
      },
    ],
    [
      'a kick descriptor that is a socket without a peer',
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
      'a change to a running ring',
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

  test('a front-end that disconnects, which is not a fault', () => {
    using frontEnd = new VhostUserFrontEnd(new VirtioRng()).start();
    frontEnd.disconnect();
    expect(frontEnd.isClosed).toBe(true);
    expect(frontEnd.broken).toEqual([]);
  });
});

test('a random sequence of messages at most closes the connection', () => {
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

test('random bytes at most close the connection', () => {
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
