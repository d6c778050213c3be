// The default back end: connections of the guest become the host's. The guest's frames are made by the
// test.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { expect, test } from 'vitest';
import type { PublishedPorts } from '../../../../../../vmm/machine.js';
import { ACK, GATEWAY, SYN, tcp } from '../../../../../fixtures/frames.js';
import { Peer, relay } from './relay-peer.js';

const RST = 4;

async function listen(): Promise<{ server: ReturnType<typeof createServer>; port: number }> {
  const server = createServer((socket) => socket.on('error', () => {}).end('hello')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as { port: number }).port };
}

test('a connection of the guest becomes one of the host', async () => {
  using peer = new Peer(relay());
  const { server, port } = await listen();
  peer.send(tcp({ destination: GATEWAY.ipv4, destinationPort: port }));
  const answer = await peer.tcpFrame(SYN | ACK);
  expect([answer.sourcePort, answer.destinationPort]).toEqual([port, 40000]);
  server.close();
});

test('the host is unreachable unless the spec allows it', async () => {
  const { server, port } = await listen();
  using peer = new Peer(relay({ reachHost: false }));
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
  using peer = new Peer(relay());
  const { server, port } = await listen();
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
  expect(() => new Peer(relay({ ports }))).toThrow(`cannot publish port 127.0.0.1:${port}/tcp: it is in use`);
  server.close();
});

test('chosen ports are reported and lead to the guest', async () => {
  const address = '127.0.0.1';
  const ports: PublishedPorts[] = [{ protocol: 'tcp', address, host: 0, guest: 80, count: 1 }];
  using peer = new Peer(relay({ ports }));
  const { host } = peer.ports[0]!;
  expect(peer.ports).toEqual([{ ...ports[0], host }]);
  const client = connect(host, address);
  client.on('error', () => {});
  const frame = await peer.tcpFrame(SYN);
  expect(frame.destinationPort).toBe(80);
  client.destroy();
});
