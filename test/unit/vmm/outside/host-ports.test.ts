// The host's published ports: specified ones are checked, others are chosen and reserved.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { PublishedPorts } from '../../../../vmm/machine.js';
import { HostPorts } from '../../../../vmm/outside/host-ports.js';
import { freePort } from '../../../fixtures/free-port.js';

const LOOPBACK = '127.0.0.1';
const tcp = (more: Partial<PublishedPorts>): PublishedPorts => ({
  ...{ protocol: 'tcp', address: LOOPBACK, host: 0, guest: 80, count: 1 },
  ...more,
});

/** Like {@link tcp}, at all addresses of the host. */
function everywhere(more: Partial<PublishedPorts> = {}): PublishedPorts {
  const { address: _, ...ports } = tcp(more);
  return ports;
}

const toClose: { close(): void }[] = [];

afterEach(() => {
  for (const each of toClose.splice(0)) each.close();
});

/** Returns a TCP port with a listener. */
async function listen(address = LOOPBACK): Promise<number> {
  const server = createServer().listen(0, address);
  toClose.push(server);
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}

/** Returns a UDP port with a socket. The TCP port of its number is free. */
async function bindUdp(): Promise<number> {
  const socket = createSocket({ type: 'udp4', reuseAddr: true });
  toClose.push(socket);
  socket.bind(await freePort(), LOOPBACK);
  await once(socket, 'listening');
  return socket.address().port;
}

describe('a specified port', () => {
  test('must be free', async () => {
    const port = await listen();
    const inUse = `cannot publish port ${LOOPBACK}:${port}/tcp: it is in use`;
    expect(() => new HostPorts([tcp({ host: port })], [])).toThrow(inUse);
    expect(() => new HostPorts([everywhere({ host: port })], ['0.0.0.0'])).toThrow(/it is in use$/);
  });

  test('of UDP must be free, even if the other socket allows sharing', async () => {
    const port = await bindUdp();
    expect(() => new HostPorts([tcp({ protocol: 'udp', host: port })], [])).toThrow(/it is in use$/);
    using tcpPort = new HostPorts([tcp({ host: port })], []);
    expect(tcpPort.bound[0]?.host).toBe(port);
  });

  test('must be at an address of the host', () => {
    expect(() => new HostPorts([tcp({ host: 8080, address: '203.0.113.99' })], [])).toThrow(/no such address$/);
  });

  test('of IPv6 needs an IPv6 route of the host', () => {
    const ports = [tcp({ host: 8080, address: '::1' })];
    expect(() => new HostPorts(ports, ['0.0.0.0'])).toThrow(
      /^cannot publish port \[::1\]:8080\/tcp: no route of the host/,
    );
  });

  test('can be published at each address, to ports of its own', async () => {
    const host = await freePort();
    using both = new HostPorts([tcp({ host }), tcp({ host, guest: 81, address: '127.0.0.2' })], []);
    expect(both.take().map(({ protocol, guest }) => [protocol, guest])).toEqual([
      ['tcp', 80],
      ['tcp', 81],
    ]);
  });

  test('can be published only once', async () => {
    const host = await freePort();
    expect(() => new HostPorts([tcp({ host }), tcp({ host, guest: 81 })], [])).toThrow(/it is in use$/);
  });
});

describe('a chosen port', () => {
  test('is unique, also if many are chosen at once', () => {
    const many = Array.from(
      { length: 4 },
      () => new HostPorts([tcp({ count: 50 }), tcp({ protocol: 'udp', count: 50 })], []),
    );
    for (const protocol of ['tcp', 'udp']) {
      const ports = many.flatMap(({ bound }) => bound.filter((each) => each.protocol === protocol));
      expect(ports).toHaveLength(200);
      expect(new Set(ports.map(({ host }) => host)).size).toBe(200);
      expect(ports.every(({ host, count }) => host > 0 && count === 1)).toBe(true);
    }
    for (const each of many) each[Symbol.dispose]();
  });

  test('is reserved until it is released', async () => {
    const ports = new HostPorts([tcp({})], []);
    const { host } = ports.bound[0]!;
    const attempt = () => once(createServer().listen({ port: host, host: LOOPBACK, exclusive: true }), 'listening');
    // A second container that asks for the port is told, and the kernel never chooses it for a bind
    // to port 0.
    expect(() => new HostPorts([tcp({ host })], [])).toThrow(/it is in use$/);
    for (let count = 0; count < 50; count++) expect(await listen()).not.toBe(host);
    ports[Symbol.dispose]();
    const [server] = [createServer().listen(host, LOOPBACK)];
    toClose.push(server);
    await once(server, 'listening');
    await expect(attempt()).rejects.toThrow('EADDRINUSE');
  });

  test('is the same at all addresses', () => {
    using ports = new HostPorts([everywhere()], ['0.0.0.0', '::']);
    const { host } = ports.bound[0]!;
    expect(ports.bound).toEqual([tcp({ address: '0.0.0.0', host }), tcp({ address: '::', host })]);
  });

  test('from a range is the first free one', async () => {
    const host = await listen();
    using ports = new HostPorts([tcp({ host, last: host + 20 })], []);
    expect(ports.bound[0]?.host).toBeGreaterThan(host);
    expect(ports.bound[0]?.host).toBeLessThanOrEqual(host + 20);
    expect(() => new HostPorts([tcp({ host, last: host })], [])).toThrow(/it is in use$/);
  });
});
