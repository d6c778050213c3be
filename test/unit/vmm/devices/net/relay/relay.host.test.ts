// The relay between the guest's TCP and the host's sockets, segment by segment: handshakes, what is
// lost or repeated, windows, resets, and what a hostile guest sends.
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { formatAddress } from '../../../../../../addresses/ip.js';
import type { Frame } from '../../../../../../vmm/devices/net/frame.js';
import * as libc from '../../../../../../vmm/host/libc.js';
import type { PublishedPorts } from '../../../../../../vmm/machine.js';
import { ACK, FIN, GATEWAY, RST, SYN, tcp } from '../../../../../fixtures/frames.js';
import { Peer, relay } from './relay-peer.js';

/** Maximum segment size 1460, window scale 7. */
const OPTIONS = [2, 4, 5, 180, 1, 3, 3, 7];

const published = (address: string): PublishedPorts[] => [{ protocol: 'tcp', address, host: 0, guest: 22, count: 1 }];

/** A host's side of a connection: what it has heard, and how it ended. */
class Ear {
  heard = '';
  end: string | undefined;
  constructor(readonly socket: Socket) {
    socket.on('data', (chunk) => {
      this.heard += chunk.toString();
    });
    socket.on('end', () => {
      this.end ??= 'end';
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.end ??= error.code;
    });
  }
}

async function upPeer(ports: PublishedPorts[] = [], ipv6 = false): Promise<Peer> {
  const peer = new Peer(relay({ ports }), { ipv6 });
  return peer;
}

/** The guest's answer to a segment that opens a connection. */
function answerTo(frame: Frame) {
  return {
    source: formatAddress(frame.destination),
    destination: formatAddress(frame.source),
    sourcePort: 22,
    destinationPort: frame.sourcePort,
    acknowledgment: (frame.sequence + 1) >>> 0,
  };
}

/** A server on the host, and the guest's connection to it. */
async function connected(peer: Peer, onClient: (socket: Socket) => void) {
  const server = createServer({ allowHalfOpen: true }, (socket) => onClient(socket.on('error', () => {})));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const to = { destination: GATEWAY.ipv4, destinationPort: port };
  peer.send(tcp({ ...to, tcpOptions: OPTIONS }));
  const answer = await peer.tcpFrame(SYN | ACK);
  const acknowledgment = (answer.sequence + 1) >>> 0;
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, acknowledgment }));
  return { server, to, acknowledgment };
}

const close = (server: Server, ear: Ear | undefined) => {
  ear?.socket.destroy();
  server.close();
};

/** The payloads of the segments that the guest has got, by sequence number. */
function payloads(peer: Peer): [number, string][] {
  return peer.frames.flatMap((bytes): [number, string][] => {
    const { sequence, payload, end } = peer.parse(bytes);
    return end > payload ? [[sequence, bytes.subarray(payload, end).toString()]] : [];
  });
}

test.each([
  ['127.0.0.1', GATEWAY.ipv4],
  ['::1', GATEWAY.ipv6],
])('a client at %s hears a server that speaks first', async (address, seen) => {
  using peer = await upPeer(published(address), true);
  const client = new Ear(connect(peer.ports[0]!.host, address));
  const syn = await peer.tcpFrame(SYN);
  const to = answerTo(syn);
  expect([to.destination, syn.destinationPort]).toEqual([seen, 22]);
  peer.send(tcp({ ...to, flags: SYN | ACK, tcpOptions: OPTIONS }));
  const ack = await peer.tcpFrame(ACK);
  expect([ack.sequence, ack.acknowledgment, ack.tcpFlags]).toEqual([to.acknowledgment, 1001, ACK]);
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, payload: Buffer.from('220 ready\r\n') }));
  await peer.until(() => client.heard === '220 ready\r\n');
  client.socket.destroy();
});

test('two clients of this host with the same port, to different addresses of it, are told apart', async () => {
  using peer = await upPeer([{ protocol: 'tcp', host: 0, guest: 22, count: 1 }]);
  const port = peer.ports[0]!.host;
  const one = new Ear(connect({ port, host: '127.0.0.1', localAddress: '127.0.0.1' }));
  await peer.tcpFrame(SYN);
  const { localPort } = one.socket;
  const two = new Ear(connect({ port, host: '127.0.0.2', localAddress: '127.0.0.2', localPort: localPort! }));
  const ports = () => new Set(peer.frames.map((bytes) => peer.parse(bytes).sourcePort));
  await peer.until(() => ports().size === 2);
  expect(ports()).toContain(localPort);
  for (const each of [one, two]) each.socket.destroy();
});

test('a SYN that the guest does not answer is repeated, and an old connection in the way is reset', async () => {
  using peer = await upPeer(published('127.0.0.1'));
  const client = new Ear(connect(peer.ports[0]!.host, '127.0.0.1'));
  const syn = await peer.tcpFrame(SYN);
  peer.frames.length = 0;
  expect((await peer.tcpFrame(SYN)).sequence).toBe(syn.sequence);
  // As a guest answers that has a connection of the same ports in TIME_WAIT.
  const to = answerTo(syn);
  peer.frames.length = 0;
  peer.send(tcp({ ...to, flags: ACK, sequence: 7000, acknowledgment: 9000 }));
  expect((await peer.tcpFrame(RST)).sequence).toBe(9000);
  await peer.tcpFrame(SYN);
  peer.send(tcp({ ...to, flags: SYN | ACK, tcpOptions: OPTIONS }));
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, payload: Buffer.from('hello') }));
  await peer.until(() => client.heard === 'hello');
  client.socket.destroy();
});

test('clients of a port are announced a few at a time, and the others once those are answered or late', async () => {
  using peer = await upPeer(published('127.0.0.1'));
  const clients = Array.from({ length: 200 }, () => new Ear(connect(peer.ports[0]!.host, '127.0.0.1')));
  await Promise.all(clients.map(({ socket }) => once(socket, 'connect')));
  const announced = () => peer.frames.map((bytes) => peer.parse(bytes).sequence);
  await peer.until(() => new Set(announced()).size === 200);
  const isFirst = announced().map((sequence, at) => announced().indexOf(sequence) === at);
  expect(isFirst.indexOf(false)).toBe(64);
  for (const each of clients) each.socket.destroy();
});

test('until the guest knows a connection, nothing is sent that its SYN cookie does not fit', async () => {
  using peer = await upPeer(published('127.0.0.1'));
  const client = new Ear(connect(peer.ports[0]!.host, '127.0.0.1'));
  client.socket.end(Buffer.alloc(100_000, 'x'));
  const to = answerTo(await peer.tcpFrame(SYN));
  peer.send(tcp({ ...to, flags: SYN | ACK, tcpOptions: OPTIONS }));
  await peer.until(() => payloads(peer).length > 0);
  peer.frames.length = 0;
  // To a repeated SYN a guest without room may answer with another number.
  peer.send(tcp({ ...to, flags: SYN | ACK, sequence: 7000, tcpOptions: OPTIONS }));
  const ack = await peer.tcpFrame(ACK);
  expect([ack.sequence, ack.acknowledgment, ack.end]).toEqual([to.acknowledgment, 1001, ack.payload]);
  // Repeated as long as it is not acknowledged.
  await peer.until(() => payloads(peer).length > 1);
  expect(new Set(payloads(peer).map(([sequence]) => sequence))).toEqual(new Set([to.acknowledgment]));
  for (let known = to.acknowledgment; ; ) {
    const last = peer.frames.map((bytes) => peer.parse(bytes)).find(({ tcpFlags }) => (tcpFlags & FIN) !== 0);
    if (last !== undefined) {
      expect(last.sequence).toBe((to.acknowledgment + 100_000) >>> 0);
      break;
    }
    const [, text] = payloads(peer).find(([sequence]) => sequence === known) ?? [];
    if (text !== undefined) known = (known + text.length) >>> 0;
    peer.send(tcp({ ...to, flags: ACK, sequence: 1001, acknowledgment: known }));
    peer.loop.poll(10);
  }
  client.socket.destroy();
});

test('a SYN that the guest repeats while the server does not answer is one connection', async () => {
  const server = libc.check(libc.socket(libc.AF_INET, libc.SOCK_STREAM | libc.SOCK_CLOEXEC, 0), 'socket');
  const address = Buffer.from([libc.AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  libc.check(libc.bind(server, address, address.length), 'bind');
  libc.check(libc.listen(server, 0), 'listen');
  libc.check(libc.getsockname(server, address, Int32Array.of(address.length)), 'getsockname');
  const port = address.readUInt16BE(2);
  // The server's backlog is now full.
  const first = connect(port, '127.0.0.1').on('error', () => {});
  await once(first, 'connect');
  using peer = await upPeer();
  for (let count = 0; count < 3; count++) {
    peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
    peer.loop.poll(1);
  }
  libc.check(libc.accept4(server, null, null, libc.SOCK_CLOEXEC), 'accept4');
  await peer.tcpFrame(SYN | ACK);
  expect(peer.frames.map((bytes) => peer.parse(bytes).tcpFlags & RST)).not.toContain(RST);
  libc.close(server);
  first.destroy();
});

test('a SYN that is repeated without room is not sent any more once the guest has answered', async () => {
  using peer = await upPeer(published('127.0.0.1'));
  const client = new Ear(connect(peer.ports[0]!.host, '127.0.0.1'));
  const to = answerTo(await peer.tcpFrame(SYN));
  peer.frames.length = 0;
  peer.hasRoom = false;
  await peer.until(() => peer.refused > 0);
  peer.send(tcp({ ...to, flags: SYN | ACK, tcpOptions: OPTIONS }));
  peer.hasRoom = true;
  peer.backEnd.resume();
  await peer.tcpFrame(ACK);
  expect(peer.frames.map((bytes) => peer.parse(bytes).tcpFlags)).toEqual([ACK]);
  client.socket.destroy();
});

test('what the guest does not acknowledge is sent again, the end as well', async () => {
  using peer = await upPeer();
  const { server, acknowledgment } = await connected(peer, (socket) => socket.end('hello'));
  await peer.tcpFrame(FIN);
  peer.frames.length = 0;
  const fin = await peer.tcpFrame(FIN);
  expect(fin.sequence).toBe((acknowledgment + 5) >>> 0);
  expect(payloads(peer)).toEqual([[acknowledgment, 'hello']]);
  close(server, undefined);
});

test('a server that says all and closes before the relay sees it accept is heard to its end', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const to = { destination: GATEWAY.ipv4, destinationPort: port };
  using peer = await upPeer();
  peer.send(tcp({ ...to, tcpOptions: OPTIONS }));
  const [socket] = await once(server, 'connection');
  socket.end('go away');
  await once(socket, 'finish');
  const answer = await peer.tcpFrame(SYN | ACK);
  const acknowledgment = (answer.sequence + 1) >>> 0;
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, acknowledgment }));
  const fin = await peer.tcpFrame(FIN);
  expect(fin.sequence).toBe((acknowledgment + 7) >>> 0);
  expect(payloads(peer)).toEqual([[acknowledgment, 'go away']]);
  socket.destroy();
  server.close();
});

test('bytes that come again, or before others, reach the host once and in order', async () => {
  using peer = await upPeer();
  let ear: Ear | undefined;
  const { server, to, acknowledgment } = await connected(peer, (socket) => {
    ear = new Ear(socket);
  });
  const say = (sequence: number, text: string, flags = ACK) =>
    peer.send(tcp({ ...to, flags, sequence, acknowledgment, payload: Buffer.from(text) }));
  say(1004, 'def');
  say(1001, 'ab');
  say(1001, 'abcd');
  say(1001, 'abc');
  say(1005, 'ef', ACK | FIN);
  await peer.until(() => ear?.end === 'end');
  expect(ear?.heard).toBe('abcdef');
  close(server, ear);
});

test('the end of the guest is passed on, and the host goes on sending', async () => {
  using peer = await upPeer();
  let ear: Ear | undefined;
  const { server, to, acknowledgment } = await connected(peer, (socket) => {
    ear = new Ear(socket);
  });
  peer.send(tcp({ ...to, flags: ACK | FIN, sequence: 1001, acknowledgment }));
  await peer.until(() => ear?.end === 'end');
  ear!.socket.write('one');
  await peer.until(() => payloads(peer).length === 1);
  peer.send(tcp({ ...to, flags: ACK, sequence: 1002, acknowledgment: (acknowledgment + 3) >>> 0 }));
  ear!.socket.end('two');
  await peer.tcpFrame(FIN);
  expect(payloads(peer)).toEqual([
    [acknowledgment, 'one'],
    [(acknowledgment + 3) >>> 0, 'two'],
  ]);
  close(server, undefined);
});

test("a reset of the guest reaches the host as one, and the host's the guest", async () => {
  using peer = await upPeer();
  let ear: Ear | undefined;
  const first = await connected(peer, (socket) => {
    ear = new Ear(socket);
  });
  await peer.until(() => ear);
  // A forged number gets an acknowledgment (RFC 5961, 3.2).
  peer.send(tcp({ ...first.to, flags: RST, sequence: 1100 }));
  peer.send(tcp({ ...first.to, flags: RST, sequence: 1001 }));
  await peer.until(() => ear?.end);
  expect(ear?.end).toBe('ECONNRESET');
  close(first.server, ear);
  peer.frames.length = 0;
  const second = await connected(peer, (socket) => socket.resetAndDestroy());
  expect((await peer.tcpFrame(RST)).sequence).toBe(second.acknowledgment);
  close(second.server, undefined);
});

test('a window of nothing is asked about, and what follows comes when it opens', async () => {
  using peer = await upPeer();
  let ear: Ear | undefined;
  const { server, to, acknowledgment } = await connected(peer, (socket) => {
    ear = new Ear(socket);
  });
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, acknowledgment, window: 0 }));
  await peer.until(() => ear);
  peer.frames.length = 0;
  ear!.socket.write('hello');
  expect((await peer.tcpFrame(ACK)).sequence).toBe((acknowledgment - 1) >>> 0);
  expect(payloads(peer)).toEqual([]);
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, acknowledgment }));
  await peer.until(() => payloads(peer).length > 0);
  expect(payloads(peer)[0]).toEqual([acknowledgment, 'hello']);
  close(server, ear);
});

test('more than the host takes is not acknowledged, and nothing of it is kept', async () => {
  using peer = await upPeer();
  let ear: Socket | undefined;
  const { server, to, acknowledgment } = await connected(peer, (socket) => {
    ear = socket.pause();
  });
  await peer.until(() => ear);
  const payload = Buffer.alloc(60_000, 7);
  let next = 1001;
  // Until the host's buffers are full. A segment that finds no room is sent again and again.
  for (let idle = 0; idle < 20; idle++) {
    peer.send(tcp({ ...to, flags: ACK, sequence: next, acknowledgment, payload }));
    for (let turn = 0; turn < 5; turn++) peer.loop.poll(1);
    const acknowledged = Math.max(...peer.frames.map((bytes) => peer.parse(bytes).acknowledgment));
    if (acknowledged > next) idle = 0;
    next = acknowledged;
  }
  let bytes = 0;
  ear!.on('data', (chunk) => {
    bytes += chunk.length;
  });
  ear!.resume();
  await peer.until(() => bytes === next - 1001);
  peer.send(tcp({ ...to, flags: ACK, sequence: next, acknowledgment, payload }));
  await peer.until(() => bytes === next - 1001 + payload.length);
  ear!.destroy();
  server.close();
});

test('a connection that nothing answers is refused with a reset, a segment of none as well', async () => {
  using peer = await upPeer();
  const unused = createServer().listen(0, '127.0.0.1');
  await once(unused, 'listening');
  const { port } = unused.address() as { port: number };
  unused.close();
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  expect(await peer.tcpFrame(RST)).toMatchObject({ acknowledgment: 1001, tcpFlags: RST | ACK });
  peer.frames.length = 0;
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port, flags: ACK, sequence: 5, acknowledgment: 77 }));
  expect(await peer.tcpFrame(RST)).toMatchObject({ sequence: 77, tcpFlags: RST });
});

test('a maximum segment size of next to nothing and options that lie cost the host nothing', async () => {
  using peer = await upPeer();
  const server = createServer((socket) => socket.on('error', () => {}).end('hello')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const lies = [
    [2, 4, 0, 0],
    [2, 4, 0, 1],
    [3, 3, 255, 0],
    [2, 40, 0, 1],
    [8, 0, 0, 0],
    [2, 2, 3, 1],
  ];
  for (const [index, tcpOptions] of lies.entries()) {
    const to = { destination: GATEWAY.ipv4, destinationPort: port, sourcePort: 41000 + index };
    peer.frames.length = 0;
    peer.send(tcp({ ...to, tcpOptions }));
    const { sequence } = await peer.tcpFrame(SYN | ACK);
    peer.send(tcp({ ...to, flags: ACK, sequence: 1001, acknowledgment: (sequence + 1) >>> 0 }));
    await peer.until(() => payloads(peer).length > 0);
    expect(payloads(peer)[0]?.[1]).toBe('hello');
    peer.send(tcp({ ...to, flags: RST, sequence: 1001 }));
  }
  server.close();
});
