// The relay with a source of sockets that answers late, with an error, or never: a SYN waits for its
// socket as long as for the server, and a socket that comes too late is closed.
import { expect, test } from 'vitest';
import { formatAddress } from '../../../../../../addresses/ip.js';
import type { OutsideSockets } from '../../../../../../vmm/devices/net/relay/outside-sockets.js';
import * as libc from '../../../../../../vmm/host/libc.js';
import type { Carried } from '../../../../../../vmm/machine.js';
import { ACK, icmp, RST, SYN, tcp, udp } from '../../../../../fixtures/frames.js';
import { Peer, relay } from './relay-peer.js';

/** Of `relay-peer.ts`: twice `maxConnections`. */
const MOST = 200;
const TO = { destination: '203.0.113.1', destinationPort: 80 };

/** Answers when the test says so. */
class LateSockets implements OutsideSockets {
  readonly asked: { carried: Carried; to: string; done: (fd: number) => void }[] = [];

  connect(carried: Carried, __: number, address: Uint32Array, port: number, done: (fd: number) => void): void {
    this.asked.push({ carried, to: `${formatAddress(address)} ${port}`, done });
  }

  arrivals(): void {}
}

/** A connected socket, and the end of its peer. */
function socketPair(): readonly [number, Disposable & { fd: number; isAtEnd(): boolean }] {
  const [given, kept] = libc.createSocketPair();
  for (const fd of [given, kept]) libc.setNonBlocking(fd);
  const isAtEnd = () => libc.read(kept, new Uint8Array(1), 1) === 0;
  return [given, { fd: kept, isAtEnd, [Symbol.dispose]: () => libc.close(kept) }];
}

async function upPeer() {
  const sockets = new LateSockets();
  const peer = new Peer(relay(), { sockets });
  peer.frames.length = 0;
  return { peer, sockets, [Symbol.dispose]: () => peer[Symbol.dispose]() };
}

/** Lets the device do what is due. */
function settle(peer: Peer): void {
  for (let turn = 0; turn < 3; turn++) peer.loop.poll(1);
}

test('a SYN waits for its socket, is asked for once, and then opens', async () => {
  using up = await upPeer();
  const { peer, sockets } = up;
  for (let count = 0; count < 3; count++) {
    peer.send(tcp(TO));
    settle(peer);
  }
  expect(sockets.asked.map(({ to }) => to)).toEqual(['203.0.113.1 80']);
  expect(peer.frames).toEqual([]);
  const [given, end] = socketPair();
  using _ = end;
  sockets.asked[0]!.done(given);
  const { sequence } = await peer.tcpFrame(SYN | ACK);
  const acknowledgment = (sequence + 1) >>> 0;
  peer.send(tcp({ ...TO, flags: ACK, sequence: 1001, acknowledgment, payload: Buffer.from('hello') }));
  const heard = Buffer.alloc(5);
  await peer.until(() => libc.read(end.fd, heard, heard.length) === heard.length);
  expect(heard.toString()).toBe('hello');
});

test('an error that comes late is a reset, and the next SYN asks again', async () => {
  using up = await upPeer();
  const { peer, sockets } = up;
  peer.send(tcp(TO));
  settle(peer);
  sockets.asked[0]!.done(-libc.ECONNREFUSED);
  expect(await peer.tcpFrame(RST)).toMatchObject({ acknowledgment: 1001, tcpFlags: RST | ACK });
  peer.send(tcp({ ...TO, sequence: 5000 }));
  expect(sockets.asked).toHaveLength(2);
});

test("a socket that comes after the guest's reset is closed", async () => {
  using up = await upPeer();
  const { peer, sockets } = up;
  peer.send(tcp(TO));
  peer.send(tcp({ ...TO, flags: RST, sequence: 1001 }));
  // The same ports again, before the first answer.
  peer.send(tcp({ ...TO, sequence: 5000 }));
  expect(sockets.asked).toHaveLength(2);
  const [first, gone] = socketPair();
  const [second, alive] = socketPair();
  using _ = gone;
  using __ = alive;
  sockets.asked[0]!.done(first);
  expect(gone.isAtEnd()).toBe(true);
  settle(peer);
  expect(peer.frames).toEqual([]);
  sockets.asked[1]!.done(second);
  expect((await peer.tcpFrame(SYN | ACK)).acknowledgment).toBe(5001);
  expect(alive.isAtEnd()).toBe(false);
});

test('a socket or an error that comes after a reset of the device, or its end, changes nothing', async () => {
  const up = await upPeer();
  const { peer, sockets } = up;
  for (const sourcePort of [40000, 40001, 40002, 40003]) peer.send(tcp({ ...TO, sourcePort }));
  peer.backEnd.detach();
  peer.backEnd.attach(peer);
  // The driver's next connection has the ports of one before.
  peer.send(tcp({ ...TO, sourcePort: 40000 }));
  const pairs = sockets.asked.map(() => socketPair());
  sockets.asked[0]!.done(pairs[0]![0]);
  sockets.asked[1]!.done(-libc.ECONNREFUSED);
  expect(pairs[0]![1].isAtEnd()).toBe(true);
  settle(peer);
  expect(peer.frames).toEqual([]);
  up[Symbol.dispose]();
  for (const index of [2, 4]) {
    sockets.asked[index]!.done(pairs[index]![0]);
    expect(pairs[index]![1].isAtEnd()).toBe(true);
  }
  sockets.asked[3]!.done(-libc.ECONNREFUSED);
  for (const [, end] of pairs) end[Symbol.dispose]();
  for (const index of [1, 3]) libc.close(pairs[index]![0]);
});

test('a source that never answers is asked for so many sockets and no more', async () => {
  using up = await upPeer();
  const { peer, sockets } = up;
  // Each is reset at once by the guest: no connection is left that could be counted.
  for (let sourcePort = 1; sourcePort <= MOST; sourcePort++) {
    peer.send(tcp({ ...TO, sourcePort }));
    peer.send(tcp({ ...TO, sourcePort, flags: RST, sequence: 1001 }));
  }
  settle(peer);
  expect([sockets.asked.length, peer.frames.length]).toEqual([MOST, 0]);
  peer.send(tcp({ ...TO, sourcePort: 40000 }));
  expect((await peer.tcpFrame(RST)).destinationPort).toBe(40000);
  expect(sockets.asked).toHaveLength(MOST);
  sockets.asked[0]!.done(-libc.ECONNREFUSED);
  peer.send(tcp({ ...TO, sourcePort: 40001 }));
  expect(sockets.asked).toHaveLength(MOST + 1);
});

/** A datagram socket for the relay, and its peer's. */
function datagramPair(): readonly [number, number] {
  const fds = new Int32Array(2);
  libc.check(libc.socketpair(libc.AF_UNIX, libc.SOCK_DGRAM | libc.SOCK_NONBLOCK, 0, fds), 'socketpair');
  return [fds[0]!, fds[1]!];
}

test('datagrams wait for their socket, few of each and in order, and the socket is asked for once', async () => {
  using up = await upPeer();
  const { peer, sockets } = up;
  for (let count = 0; count < 20; count++) peer.send(udp({ ...TO, payload: Buffer.from(`number ${count}`) }));
  peer.send(icmp({ destination: TO.destination }));
  expect(sockets.asked.map(({ carried, to }) => `${carried} ${to}`)).toEqual([
    'udp 203.0.113.1 80',
    'ping 203.0.113.1 0',
  ]);
  const [given, kept] = datagramPair();
  sockets.asked[0]!.done(given);
  const bytes = Buffer.alloc(100);
  const came = Array.from({ length: 17 }, () => {
    const length = libc.read(kept, bytes, bytes.length);
    return length < 0 ? 'none' : bytes.toString('latin1', 0, length);
  });
  expect(came).toEqual([...Array.from({ length: 16 }, (_, count) => `number ${count}`), 'none']);
  libc.close(kept);
});

test('all kinds of sockets count together, until one that was not answered is', async () => {
  using up = await upPeer();
  const { peer, sockets } = up;
  peer.send(tcp(TO));
  peer.send(icmp({ destination: TO.destination }));
  for (let port = 1; port <= 2 * MOST; port++) peer.send(udp({ ...TO, destinationPort: port }));
  expect(sockets.asked).toHaveLength(MOST);
  // The guest's driver is gone, and what was asked for still comes.
  peer.backEnd.detach();
  peer.backEnd.attach(peer);
  peer.send(udp({ ...TO, destinationPort: 9999 }));
  expect(sockets.asked).toHaveLength(MOST);
  const [given, kept] = datagramPair();
  sockets.asked[5]!.done(given);
  expect(libc.write(kept, Buffer.from('x'), 1)).toBe(-1);
  libc.close(kept);
  peer.send(udp({ ...TO, destinationPort: 9999 }));
  expect(sockets.asked).toHaveLength(MOST + 1);
});

test('a datagram without a socket is told to be prohibited, and its place is free again', async () => {
  using up = await upPeer();
  const { peer, sockets } = up;
  for (let port = 1; port <= MOST; port++) {
    peer.send(udp({ ...TO, destinationPort: port }));
    sockets.asked.at(-1)!.done(-libc.EACCES);
  }
  expect(peer.frames).toHaveLength(MOST);
  // ICMP, destination unreachable, communication administratively prohibited; and the datagram that it quotes.
  const frame = peer.frames.at(-1)!;
  expect([frame[23], frame.readUInt16BE(34), frame[51], frame.readUInt16BE(62), frame.readUInt16BE(64)]).toEqual([
    ...[1, 0x030d, 17, 40000, MOST],
  ]);
  peer.send(udp({ ...TO, destinationPort: 9999 }));
  expect(sockets.asked).toHaveLength(MOST + 1);
});
