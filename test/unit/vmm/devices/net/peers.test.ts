// Private networks: the devices of two machines reach each other, and each checks the frames that
// the other one sends to its guest.
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { RECEIVE, TRANSMIT, VIRTIO_NET_F_MAC, VirtioNet } from '../../../../../vmm/devices/net/device.js';
import { IsolatedBackEnd } from '../../../../../vmm/devices/net/isolated.js';
import { parseMac } from '../../../../../vmm/devices/net/mac-address.js';
import { EventLoop } from '../../../../../vmm/host/event-loop.js';
import * as libc from '../../../../../vmm/host/libc.js';
import type { Refusal } from '../../../../../vmm/machine.js';
import { enterNetwork } from '../../../../../vmm/outside/network-folder.js';
import { arp, type FrameFields, GATEWAY, icmp, PEER_RANGES, query, tcp, udp } from '../../../../fixtures/frames.js';
import { ownNetwork } from '../../../../fixtures/own-network.js';
import { type Piece, VirtioDriver } from '../../../../fixtures/virtio-driver.js';

const HEADER = 12;
const RESOLVER = '198.19.0.3';
const CHECKSUM = Buffer.from([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
const SEGMENTS = Buffer.from([1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0]);

let folder: string;
let loop: EventLoop;
const open: Disposable[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-net-'));
  loop = new EventLoop();
});
afterEach(() => {
  for (const each of open.splice(0)) each[Symbol.dispose]();
  loop[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** Lets devices accept connections and read what has come. */
function settle(): void {
  for (let turn = 0; turn < 10; turn++) loop.poll(0);
}

/** A machine whose guest has the address 198.19.1.`number`. */
function machine(number: number, names: string[] = [], features?: number[]) {
  const address = `198.19.1.${number}`;
  const mac = `02:74:c6:13:01:0${number}`;
  const refused: Refusal[] = [];
  const device = new VirtioNet({
    spec: {
      ...{ mac, gatewayMac: GATEWAY.mac, mtu: 65520, optional: false, addresses: [address], gateways: [GATEWAY.ipv4] },
      ...{
        resolvers: [RESOLVER],
        peerRanges: PEER_RANGES,
        maxConnections: 16_384,
        rules: [{ allow: false, range: '0.0.0.0/0' }],
        backEnd: { kind: 'none' },
      },
      peers: [{ name: 'lan', folder, names }],
    },
    backEnd: new IsolatedBackEnd(parseMac(GATEWAY.mac)),
    loop,
    ...ownNetwork(),
    onRefusal: (refusal) => refused.push(refusal),
  });
  settle();
  const driver = new VirtioDriver(device, { memorySize: 32 * 1024 * 1024, features }).start();
  open.push(driver);
  const rooms: Piece[] = [];
  const own: FrameFields = { source: address, sourceMac: mac };
  return {
    ...{ address, mac, own, device, refused },
    send(frame: Buffer, header = Buffer.alloc(HEADER)) {
      const piece = driver.allocate(HEADER + frame.length, 1);
      driver.bytes(piece).set(header);
      driver.bytes(piece).set(frame, HEADER);
      driver.queueAt(TRANSMIT).add([piece], []);
      driver.queueAt(TRANSMIT).kick();
      while (driver.queueAt(TRANSMIT).takeUsed() !== undefined);
    },
    /** Adds a receive buffer for one frame. */
    room() {
      const piece = driver.allocate(70_000, 1);
      driver.queueAt(RECEIVE).add([], [piece]);
      driver.queueAt(RECEIVE).kick();
      rooms.push(piece);
    },
    /** Returns the next frame that the guest receives; undefined if there is none. */
    receive(): { header: Buffer; frame: Buffer } | undefined {
      if (rooms.length === 0) this.room();
      settle();
      const used = driver.queueAt(RECEIVE).takeUsed();
      if (used === undefined) return undefined;
      const bytes = Buffer.from(driver.bytes(rooms.shift()!).subarray(0, used.length));
      return { header: bytes.subarray(0, HEADER), frame: bytes.subarray(HEADER) };
    },
  };
}

type Machine = ReturnType<typeof machine>;

const from = (sender: Machine, to: Machine | string, more: FrameFields = {}) => ({
  ...sender.own,
  destination: typeof to === 'string' ? to : to.address,
  ...more,
});

test('peers reach each other both ways and see the gateway as their neighbour', () => {
  const [a, b] = [machine(1), machine(2)];
  a.send(tcp(from(a, b, { destinationPort: 5432, payload: Buffer.alloc(9000, 'x') })));
  const there = b.receive()!.frame;
  expect(there.subarray(0, 12).toString('hex')).toBe((b.mac + GATEWAY.mac).replaceAll(':', ''));
  expect(
    there
      .subarray(12)
      .equals(tcp(from(a, b, { destinationPort: 5432, payload: Buffer.alloc(9000, 'x') })).subarray(12)),
  ).toBe(true);
  b.send(udp(from(b, a)));
  expect(
    a
      .receive()!
      .frame.subarray(12)
      .equals(udp(from(b, a)).subarray(12)),
  ).toBe(true);
  a.send(icmp(from(a, b)));
  expect(b.receive()?.frame[34]).toBe(8);
});

test('segmentation and checksums stay pending between guests that support it', () => {
  const [a, b] = [machine(1), machine(2)];
  a.send(tcp(from(a, b, { payload: Buffer.alloc(20_000) })), SEGMENTS);
  expect(b.receive()?.header.toString('hex')).toBe('01013600b405220010000100');
});

test('a guest that does not support pending checksums receives complete ones', () => {
  const [a, b] = [machine(1), machine(2, [], [VIRTIO_NET_F_MAC])];
  const complete = tcp(from(a, b, { payload: Buffer.from('odd') }));
  const partial = Buffer.from(complete);
  // A driver leaves the sum of the pseudo header in the checksum field.
  let sum = 6 + 23;
  for (let at = 26; at < 34; at += 2) sum += partial.readUInt16BE(at);
  partial.writeUInt16BE((sum & 0xffff) + (sum >>> 16), 50);
  a.send(partial, CHECKSUM);
  const got = b.receive()!;
  expect(got.header[0]).toBe(0);
  expect(got.frame.subarray(12).equals(complete.subarray(12))).toBe(true);
  a.send(tcp(from(a, b, { payload: Buffer.alloc(20_000) })), SEGMENTS);
  expect(b.receive()).toBeUndefined();
});

test('a frame that is spoofed, malformed or not to the gateway is refused', () => {
  const [a, b] = [machine(1), machine(2)];
  a.send(udp(from(a, b, { source: '198.19.1.3' })));
  a.send(udp(from(a, b, { sourceMac: b.mac })));
  a.send(udp(from(a, b, { fragment: 0x2000 })));
  a.send(udp(from(a, b, { destinationMac: b.mac })));
  expect(b.receive()).toBeUndefined();
  expect(a.device.refused).toEqual({ spoofed: 2, malformed: 1, 'next-hop': 1 });
});

test('the receiver refuses invalid frames of an untrusted peer', () => {
  const b = machine(2);
  const fd = libc.check(libc.socket(libc.AF_UNIX, libc.SOCK_SEQPACKET, 0), 'socket');
  const path = libc.unixAddress(join(folder, b.address));
  const says = (bytes: Buffer) => libc.write(fd, bytes, bytes.length);
  const a = machine(1);
  libc.check(libc.connect(fd, path, path.length), 'connect');
  says(Buffer.from('198.19.1.1'));
  const message = (frame: Buffer, header = Buffer.alloc(HEADER)) => Buffer.concat([header, frame]);
  says(message(udp(from(a, b, { source: '198.19.1.9' }))));
  says(message(udp(from(a, '198.19.1.9'))));
  says(message(arp(from(a, b))));
  says(message(tcp(from(a, b)), Buffer.from([1, 0, 0, 0, 0, 0, 14, 0, 16, 0, 0, 0])));
  says(message(Buffer.alloc(5)));
  expect(b.receive()).toBeUndefined();
  says(message(udp(from(a, b))));
  expect(b.receive()).toBeDefined();
  says(Buffer.alloc(3));
  settle();
  expect(says(message(udp(from(a, b))))).toBeLessThan(0);
  libc.close(fd);
});

test('a peer that announces an invalid address is disconnected', () => {
  const b = machine(2);
  for (const hello of ['10.0.0.1', '198.19.1.2', 'x', '0.0.0.0', '\n198.19.1.9']) {
    const fd = libc.check(libc.socket(libc.AF_UNIX, libc.SOCK_SEQPACKET, 0), 'socket');
    const path = libc.unixAddress(join(folder, b.address));
    libc.check(libc.connect(fd, path, path.length), 'connect');
    libc.write(fd, Buffer.from(hello), hello.length);
    settle();
    expect(libc.write(fd, Buffer.alloc(60), 60)).toBeLessThan(0);
    libc.close(fd);
  }
});

test('names of live members resolve, with or without the name of the network', () => {
  const [a, b] = [machine(1), machine(2, ['Web', 'db'])];
  const ask = (name: string) => {
    a.room();
    a.send(udp(from(a, RESOLVER, { destinationPort: 53, payload: query(name) })));
    return a.receive()!.frame.subarray(42);
  };
  for (const name of ['web', 'WEB', 'db', 'web.lan']) {
    const message = ask(name);
    expect([message.readUInt16BE(2), message.readUInt16BE(6)]).toEqual([0x8180, 1]);
    expect([...message.subarray(-4)]).toEqual([198, 19, 1, 2]);
  }
  expect(ask('other').readUInt16BE(2) & 0xf).toBe(5);
  expect(ask('web.other').readUInt16BE(2) & 0xf).toBe(5);
  b.device.leave(folder);
  settle();
  expect(ask('web').readUInt16BE(2) & 0xf).toBe(5);
});

/** The last bytes of the answer to the question for a name; undefined if there is none. */
function addressOf(asker: Machine, name: string): string | undefined {
  asker.room();
  asker.send(udp(from(asker, RESOLVER, { destinationPort: 53, payload: query(name) })));
  const message = asker.receive()!.frame.subarray(42);
  return message.readUInt16BE(6) === 1 ? message.subarray(-4).join('.') : undefined;
}

test('a name is that of the member that took it last, for those before and after it, until that one leaves', () => {
  const a = machine(1);
  const b = machine(2, ['web', 'first']);
  const c = machine(3, ['web']);
  const d = machine(4);
  for (const asker of [a, b, c, d]) expect(addressOf(asker, 'web')).toBe('198.19.1.3');
  for (const asker of [a, b, c, d]) expect(addressOf(asker, 'first')).toBe('198.19.1.2');
  c.device.leave(folder);
  settle();
  for (const asker of [a, d]) expect(addressOf(asker, 'web')).toBeUndefined();
  expect(addressOf(d, 'first')).toBe('198.19.1.2');
});

test('members that came while a machine was paused are known as soon as it looks', () => {
  const a = machine(1);
  const numbers = [2, 3, 4];
  for (const number of numbers) {
    const { listener, links } = enterNetwork({ name: 'lan', folder, names: [`late-${number}`] }, `198.19.1.${number}`);
    for (const fd of [listener, ...Array.from(links.values(), (link) => link.fd)])
      onTestFinished(() => void libc.close(fd));
  }
  loop.poll(0);
  for (const number of numbers) {
    a.room();
    a.send(udp(from(a, RESOLVER, { destinationPort: 53, payload: query(`late-${number}`) })));
  }
  const answers = numbers.map(() => a.receive()!.frame.subarray(-4).join('.'));
  expect(answers).toEqual(numbers.map((number) => `198.19.1.${number}`));
});

test('members of two networks reach each other while they share one of them, and have its names', () => {
  const other = mkdtempSync(join(tmpdir(), 'tsvm-net-'));
  onTestFinished(() => rmSync(other, { recursive: true }));
  const [a, b] = [machine(1), machine(2, ['web'])];
  a.device.join({ name: 'wan', folder: other, names: [] });
  b.device.join({ name: 'wan', folder: other, names: ['shop'] });
  settle();
  expect([addressOf(a, 'web.lan'), addressOf(a, 'shop.wan'), addressOf(a, 'shop.lan')]).toEqual([
    '198.19.1.2',
    '198.19.1.2',
    undefined,
  ]);
  b.device.leave(folder);
  settle();
  expect([addressOf(a, 'web'), addressOf(a, 'shop')]).toEqual([undefined, '198.19.1.2']);
  a.send(udp(from(a, b)));
  b.send(udp(from(b, a)));
  expect(b.receive()).toBeDefined();
  expect(a.receive()).toBeDefined();
  b.device.leave(other);
  settle();
  a.send(udp(from(a, b)));
  expect(b.receive()).toBeUndefined();
});

test('a member that left or died is unreachable, and its address can be reused', () => {
  const [a, b] = [machine(1), machine(2, ['web'])];
  a.send(udp(from(a, b)));
  expect(b.receive()).toBeDefined();
  b.device.leave(folder);
  settle();
  a.send(tcp(from(a, b)));
  expect(a.refused.map(({ reason }) => reason)).toEqual(['denied']);
  // The state after kill -9: a socket file that no process listens on.
  const dead = libc.check(libc.socket(libc.AF_UNIX, libc.SOCK_SEQPACKET, 0), 'socket');
  const path = libc.unixAddress(join(folder, '198.19.1.2'));
  libc.check(libc.bind(dead, path, path.length), 'bind');
  libc.check(libc.listen(dead, 1), 'listen');
  libc.close(dead);
  a.send(tcp(from(a, b, { destinationPort: 81 })));
  expect(a.device.refused).toEqual({ denied: 2 });
  symlinkSync('198.19.1.2', join(folder, 'name=old'));
  b.device.join({ name: 'lan', folder, names: ['web'] });
  settle();
  expect([addressOf(a, 'web'), addressOf(b, 'old')]).toEqual(['198.19.1.2', undefined]);
  a.send(udp(from(a, b)));
  expect(b.receive()).toBeDefined();
  expect(() => machine(2)).toThrow(/^cannot join network lan: bind: EADDRINUSE$/);
});

test('a peer that takes no frames, or one now and then, delays no frame of another', () => {
  const [a, b, c] = [machine(1), machine(2), machine(3)];
  a.send(udp(from(a, b)));
  a.send(udp(from(a, c)));
  expect(c.receive()!.frame.subarray(42).toString()).toBe('hello');
  for (let round = 0; round < 3; round++) {
    // b takes one frame in a round.
    b.room();
    for (let count = 0; count < 120; count++) a.send(udp(from(a, b, { payload: Buffer.alloc(60_000) })));
    // Every frame has left the guest's queue, so that the next one is not behind those of b.
    a.send(udp(from(a, c, { payload: Buffer.from(`still here ${round}`) })));
    expect(c.receive()!.frame.subarray(42).toString()).toBe(`still here ${round}`);
  }
});

test('frames for a peer without room wait for it in their order, and are lost when too many wait', () => {
  const [a, b] = [machine(1), machine(2)];
  const number = (value: number) => {
    const payload = Buffer.alloc(60_000);
    payload.writeUInt32BE(value);
    return payload;
  };
  for (let count = 0; count < 200; count++) a.send(udp(from(a, b, { payload: number(count) })));
  const got: number[] = [];
  for (let next = b.receive(); next !== undefined; next = b.receive()) got.push(next.frame.readUInt32BE(42));
  expect(got.length).toBeGreaterThan(15);
  expect(got.length).toBeLessThan(200);
  expect(got).toEqual(Array.from(got, (_, index) => index));
  a.send(udp(from(a, b, { payload: number(1000) })));
  expect(b.receive()!.frame.readUInt32BE(42)).toBe(1000);
});
