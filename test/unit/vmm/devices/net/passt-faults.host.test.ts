// What Debian's passt does wrong, and what becomes of a guest's network when passt ends.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { formatAddress } from '../../../../../addresses/ip.js';
import type { Frame } from '../../../../../vmm/devices/net/frame.js';
import * as libc from '../../../../../vmm/host/libc.js';
import type { PublishedPorts } from '../../../../../vmm/machine.js';
import { ACK, arp, GATEWAY, SYN, tcp } from '../../../../fixtures/frames.js';
import { Link } from '../../../../fixtures/linked-namespaces.js';
import { Peer, passt } from './passt-peer.js';

/** Maximum segment size 1460, window scale 7. */
const OPTIONS = [2, 4, 5, 180, 1, 3, 3, 7];
const BANNER = 'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n';

const published = (address: string): PublishedPorts[] => [{ protocol: 'tcp', address, host: 0, guest: 22, count: 1 }];

/** A client that only reads. */
function listener(peer: Peer, address: string): { socket: Socket; heard: () => string; isClosed: () => boolean } {
  let [heard, isClosed] = ['', false];
  const socket = connect(peer.ports[0]!.host, address);
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    heard += chunk.toString();
  });
  socket.on('close', () => {
    isClosed = true;
  });
  return { socket, heard: () => heard, isClosed: () => isClosed };
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

test.each([
  ['127.0.0.1', GATEWAY.ipv4],
  ['::1', GATEWAY.ipv6],
])('a client at %s hears a server that speaks first', async (address, seen) => {
  await using link = await Link.create();
  using _ = link.enterHost();
  const { interface: _lo, ...spec } = passt({ ports: published(address) });
  using peer = new Peer(spec, { ipv6: true });
  await peer.until(() => peer.up);
  const client = listener(peer, address);
  const syn = await peer.tcpFrame(SYN);
  const to = answerTo(syn);
  expect([to.destination, syn.destinationPort]).toEqual([seen, 22]);
  peer.send(tcp({ ...to, flags: SYN | ACK, tcpOptions: OPTIONS }));
  const ack = await peer.tcpFrame(ACK);
  expect([ack.sequence, ack.acknowledgment, ack.tcpFlags]).toEqual([to.acknowledgment, 1001, ACK]);
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, payload: Buffer.from(BANNER) }));
  await peer.until(() => client.heard() === BANNER);
  client.socket.destroy();
});

test('the window that the server gets first is the one that passt offers', async () => {
  using peer = new Peer(passt({ ports: published('127.0.0.1') }));
  await peer.until(() => peer.up);
  const client = listener(peer, '127.0.0.1');
  const windows: number[] = [];
  for (const tcpOptions of [OPTIONS, []]) {
    peer.frames.length = 0;
    const other = listener(peer, '127.0.0.1');
    const syn = await peer.tcpFrame(SYN);
    const bytes = peer.frames.at(-1)!;
    const scale = bytes[syn.payload - 1]!;
    const offered = bytes.readUInt16BE(syn.transport + 14);
    peer.frames.length = 0;
    peer.send(tcp({ ...answerTo(syn), flags: SYN | ACK, tcpOptions }));
    const { transport } = await peer.tcpFrame(ACK);
    const window = peer.frames.at(-1)!.readUInt16BE(transport + 14);
    expect(window).toBe(tcpOptions.length > 0 ? offered >>> scale : offered);
    windows.push(window);
    other.socket.destroy();
  }
  expect(windows.every((window) => window > 0)).toBe(true);
  client.socket.destroy();
});

test('segments that a guest repeats while passt is busy do not stop passt', async () => {
  using peer = new Peer(passt({ ports: published('127.0.0.1') }));
  await peer.until(() => peer.up);
  const client = listener(peer, '127.0.0.1');
  const to = answerTo(await peer.tcpFrame(SYN));
  process.kill(peer.pid, 'SIGSTOP');
  const { port } = client.socket.address() as { port: number };
  for (const flags of [SYN | ACK, SYN | ACK, ACK]) peer.send(tcp({ ...to, flags, tcpOptions: OPTIONS }));
  // A connection of the guest's own.
  for (let count = 0; count < 2; count++) peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  process.kill(peer.pid, 'SIGCONT');
  await peer.tcpFrame(ACK);
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, payload: Buffer.from(BANNER) }));
  await peer.until(() => client.heard() === BANNER);
  // The guest sees nothing of the questions that passt is asked.
  expect(peer.frames.every((frame) => frame.readUInt16BE(12) !== 0x0806)).toBe(true);
  client.socket.destroy();
});

test('passt is started again when it was killed, with its ports, and connections can be made', async () => {
  using peer = new Peer(passt({ ports: published('127.0.0.1') }));
  await peer.until(() => peer.up);
  const { ports, pid } = peer;
  const client = listener(peer, '127.0.0.1');
  peer.send(tcp({ ...answerTo(await peer.tcpFrame(SYN)), flags: SYN | ACK, tcpOptions: OPTIONS }));
  await peer.tcpFrame(ACK);
  process.kill(pid, 'SIGKILL');
  await peer.until(() => peer.error);
  expect(peer.error?.message).toBe('passt ended (signal 9)');
  // A frame is now dropped.
  peer.send(tcp());
  await peer.until(() => peer.up && client.isClosed());
  expect([peer.interruptions, peer.isLost]).toEqual([1, false]);
  expect(peer.ports).toEqual(ports);
  expect(peer.pid).not.toBe(pid);
  peer.frames.length = 0;
  const again = listener(peer, '127.0.0.1');
  const to = answerTo(await peer.tcpFrame(SYN));
  peer.send(tcp({ ...to, flags: SYN | ACK, tcpOptions: OPTIONS }));
  await peer.tcpFrame(ACK);
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, payload: Buffer.from(BANNER) }));
  await peer.until(() => again.heard() === BANNER);
  again.socket.destroy();
});

test('passt that ends again and again is started less and less often, and then serves', async () => {
  using peer = new Peer(passt());
  const began = performance.now();
  for (let death = 1; death <= 5; death++) {
    await peer.until(() => peer.up);
    process.kill(peer.pid, 'SIGFPE');
    await peer.until(() => peer.error);
    expect(peer.error?.message).toBe('passt ended (signal 8)');
    peer.error = undefined;
  }
  await peer.until(() => peer.up);
  expect(peer.interruptions).toBe(5);
  // 0, 100, 200, 400 and 800 ms.
  expect(performance.now() - began).toBeGreaterThan(1500);
});

test('passt that stands still is replaced', async () => {
  using peer = new Peer(passt(), { patience: 100 });
  await peer.until(() => peer.up);
  const { pid } = peer;
  process.kill(pid, 'SIGSTOP');
  await peer.until(() => peer.error);
  expect(peer.error?.message).toBe('passt does not answer');
  await peer.until(() => peer.up);
  expect(peer.pid).not.toBe(pid);
  expect(peer.error?.message).toBe('passt does not answer');
});

test('acknowledgments for a connection that never began do not end passt', async () => {
  using peer = new Peer(passt({ ports: published('127.0.0.1') }));
  await peer.until(() => peer.up);
  const client = listener(peer, '127.0.0.1');
  const to = answerTo(await peer.tcpFrame(SYN));
  // As a guest answers that still has an old connection of the same ports.
  process.kill(peer.pid, 'SIGSTOP');
  for (let count = 0; count < 3; count++) peer.send(tcp({ ...to, flags: ACK }));
  process.kill(peer.pid, 'SIGCONT');
  await peer.until(() => client.isClosed());
  peer.frames.length = 0;
  const next = listener(peer, '127.0.0.1');
  await peer.tcpFrame(SYN);
  expect([peer.error, peer.interruptions]).toEqual([undefined, 0]);
  next.socket.destroy();
});

test('a maximum segment size of next to nothing does not end passt', async () => {
  const server = createServer((socket) => socket.on('error', () => {}).end('hello')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  using peer = new Peer(passt());
  await peer.until(() => peer.up);
  const to = { destination: GATEWAY.ipv4, destinationPort: port };
  peer.send(tcp({ ...to, tcpOptions: [2, 4, 0, 3] }));
  peer.send(tcp({ ...to, tcpOptions: [2, 4, 0, 4] }));
  const { sequence } = await peer.tcpFrame(SYN | ACK);
  peer.send(tcp({ ...to, flags: ACK, sequence: 1001, acknowledgment: sequence + 1 }));
  await peer.until(() => peer.frames.some((frame) => frame.subarray(54).toString() === 'hell'));
  expect(peer.interruptions).toBe(0);
  server.close();
});

test('a connection whose SYN is repeated before the server answers is not reset', async () => {
  const server = libc.check(libc.socket(libc.AF_INET, libc.SOCK_STREAM | libc.SOCK_CLOEXEC, 0), 'socket');
  const address = Buffer.from([libc.AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  libc.check(libc.bind(server, address, address.length), 'bind');
  libc.check(libc.listen(server, 0), 'listen');
  libc.check(libc.getsockname(server, address, Int32Array.of(address.length)), 'getsockname');
  const port = address.readUInt16BE(2);
  // It fills the queue, and the kernel drops other SYNs.
  const first = connect(port, '127.0.0.1');
  await once(first, 'connect');
  using peer = new Peer(passt());
  await peer.until(() => peer.up);
  for (let count = 0; count < 3; count++) {
    peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
    peer.send(arp());
    // passt has read the SYN.
    await peer.until(() => peer.frames.filter((frame) => frame.readUInt16BE(12) === 0x0806).length > count);
  }
  libc.close(libc.check(libc.accept4(server, null, null, 0), 'accept4'));
  const segments = () => peer.frames.filter((frame) => frame.readUInt16BE(12) === 0x0800);
  await peer.until(() => segments().length > 0);
  expect(segments().map((frame) => frame[47])).toEqual([SYN | ACK]);
  libc.close(server);
  first.destroy();
});
