// The default back end: the relay and the real passt. The guest's connections are frames that the test makes.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { formatAddress } from '../../../../../addresses/ip.js';
import { ARP, Frame, NEIGHBOUR } from '../../../../../vmm/devices/net/frame.js';
import { greeting } from '../../../../../vmm/devices/net/passt-greeting.js';
import { EventLoop } from '../../../../../vmm/host/event-loop.js';
import * as libc from '../../../../../vmm/host/libc.js';
import type { PublishedPorts } from '../../../../../vmm/machine.js';
import { passtArguments } from '../../../../../vmm/outside/passt-arguments.js';
import { ACK, GATEWAY, GUEST, SYN, tcp } from '../../../../fixtures/frames.js';
import { networkSpec, Peer, passt } from './passt-peer.js';

const RST = 4;

async function listen(): Promise<{ server: ReturnType<typeof createServer>; port: number }> {
  const server = createServer((socket) => socket.on('error', () => {}).end('hello')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as { port: number }).port };
}

test('passt reports when it serves, and turns a connection of the guest into one of the host', async () => {
  using peer = new Peer(passt());
  const { server, port } = await listen();
  await peer.until(() => peer.up);
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  const answer = await peer.tcpFrame(SYN | ACK);
  expect([answer.sourcePort, answer.destinationPort]).toEqual([port, 40000]);
  // The guest does not see the reply to the back end's own ARP request.
  expect(peer.frames.every((frame) => frame.readUInt16BE(12) !== 0x0806)).toBe(true);
  server.close();
});

test('the host is unreachable unless the spec allows it', async () => {
  const { server, port } = await listen();
  using peer = new Peer(passt({ reachHost: false }));
  await peer.until(() => peer.up);
  let connections = 0;
  server.on('connection', () => {
    connections++;
  });
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  // This connection is requested later, and its reply arrives.
  peer.send(tcp({ sourcePort: 40001, destination: '127.0.0.1', destinationPort: 1 }));
  await peer.tcpFrame(RST);
  expect(connections).toBe(0);
  server.close();
});

test('frames for which the guest has no room wait until there is room', async () => {
  using peer = new Peer(passt());
  const { server, port } = await listen();
  await peer.until(() => peer.up);
  peer.hasRoom = false;
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  for (let turn = 0; turn < 20; turn++) peer.loop.poll(5);
  expect(peer.frames).toHaveLength(0);
  peer.hasRoom = true;
  peer.backEnd.resume();
  await peer.tcpFrame(SYN | ACK);
  server.close();
});

test('a port that is in use causes an error', async () => {
  const { server, port } = await listen();
  const ports: PublishedPorts[] = [{ protocol: 'tcp', address: '127.0.0.1', host: port, guest: 80, count: 1 }];
  expect(() => new Peer(passt({ ports }))).toThrow(`cannot publish port 127.0.0.1:${port}/tcp: it is in use`);
  server.close();
});

test('chosen ports are reported and lead to the guest', async () => {
  const address = '127.0.0.1';
  const ports: PublishedPorts[] = [{ protocol: 'tcp', address, host: 0, guest: 80, count: 1 }];
  using peer = new Peer(passt({ ports }));
  await peer.until(() => peer.up);
  const { host } = peer.ports[0]!;
  expect(peer.ports).toEqual([{ ...ports[0], host }]);
  const client = connect(host, address);
  client.on('error', () => {});
  const frame = await peer.tcpFrame(SYN);
  expect(frame.destinationPort).toBe(80);
  client.destroy();
});

test('passt exits with its back end, and runs without capabilities and without a file system', async () => {
  const peer = new Peer(passt());
  await peer.until(() => peer.up);
  const { pid } = peer;
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  expect(status).toMatch(/^Seccomp:\t2$/m);
  expect(status).toMatch(/^CapEff:\t0+$/m);
  expect(execFileSync('ls', ['-A', `/proc/${pid}/root`], { encoding: 'utf8' })).toBe('');
  const ended = libc.pidfdOpen(pid);
  peer[Symbol.dispose]();
  using loop = new EventLoop();
  let gone = false;
  loop.add(ended, libc.EPOLLIN, () => {
    gone = true;
  });
  while (!gone) loop.poll(100);
  libc.close(ended);
});

test('the greeting announces the guest to passt in valid frames of both address families', () => {
  const spec = networkSpec(passt());
  const [request, ...none] = greeting(spec) as [Uint8Array];
  expect(none).toEqual([]);
  spec.addresses.push(GUEST.ipv6, GUEST.local);
  spec.gateways.push(GATEWAY.ipv6);
  const [advertisement, again] = greeting(spec) as [Uint8Array, Uint8Array];
  expect(again).toEqual(request);
  const frame = new Frame();
  frame.parse(advertisement, 0, advertisement.length);
  expect(frame).toMatchObject({ kind: NEIGHBOUR, operation: 136, end: advertisement.length });
  expect([frame.source, frame.target].map((words) => formatAddress(words))).toEqual([GUEST.local, GUEST.local]);
  expect(frame.parse(request, 0, request.length) && frame.kind).toBe(ARP);
});

test('the arguments of passt contain the addresses, the ports and the restrictions', () => {
  const { interface: _, ...backEnd } = passt({
    ports: [
      { protocol: 'udp', host: 8080, guest: 80, count: 1 },
      { protocol: 'udp', address: '::1', host: 5000, guest: 53, count: 3 },
    ],
    reachHost: false,
    forwardDns: '198.19.0.3',
  });
  const spec = networkSpec(backEnd);
  spec.addresses.push('fd74:7376:6d::2', 'fe80::2');
  spec.gateways.push('fe80::1');
  const words = passtArguments(spec, backEnd, backEnd.ports).join(' ');
  expect(words).toContain('--address 198.19.0.2 --netmask 24');
  expect(words).toContain('--address fd74:7376:6d::2 ');
  expect(words).toContain('--gateway 198.19.0.1 --gateway fe80::1');
  expect(words).toContain('--udp-ports 8080:80 --udp-ports ::1/5000-5002:53-55');
  expect(words).toContain('--no-map-gw');
  expect(words).toContain('--no-tcp');
  expect(words).not.toContain('--ipv4-only');
});
