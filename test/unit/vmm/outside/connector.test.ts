// The owner's side of the machine's connections: each request gets one answer, closed destinations are
// refused, and a machine process that asks for too many, or reads no answer, costs the owner nothing.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { parseAddress } from '../../../../addresses/ip.js';
import * as libc from '../../../../vmm/host/libc.js';
import {
  type ConnectAnswer,
  type ConnectRequest,
  type EgressPort,
  MAX_VSOCK_CONNECTIONS,
  type PortRequest,
} from '../../../../vmm/machine.js';
import { createUdp } from '../../../../vmm/outside/connected-socket.js';
import { type Answer, type AnswerChannel, Connector } from '../../../../vmm/outside/connector.js';
import { SocketAddress } from '../../../../vmm/outside/socket-address.js';
import { GATEWAY } from '../../../fixtures/frames.js';

const VSOCK = '/tmp/tsvm-no-vsock';
const SPEC = {
  gateways: [GATEWAY.ipv4],
  resolvers: [],
  rules: [{ allow: true, range: GATEWAY.ipv4 }],
  maxConnections: 10_000,
};

/** A machine process that reads, or does not. */
class Machine implements AnswerChannel, Disposable {
  isRead = true;
  hasRoom = true;
  /** How often an answer found no room. */
  refused = 0;
  readonly answers: ConnectAnswer[] = [];
  readonly sockets: number[] = [];

  readonly arrived: Extract<Answer, { type: 'arrived' }>[] = [];

  send(answer: Answer, sockets: readonly number[]): boolean {
    if (!this.hasRoom) {
      this.refused++;
      return false;
    }
    if (answer.type === 'connected') this.answers.push(...answer.answers);
    else this.arrived.push(answer);
    for (const fd of sockets) this.sockets.push(libc.check(libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0), 'fcntl'));
    return true;
  }

  [Symbol.dispose](): void {
    for (const fd of this.sockets) libc.close(fd);
  }
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const request = (id: number, port: number, to: string): ConnectRequest => {
  const [a, b, c, d] = [...parseAddress(to)] as [number, number, number, number];
  return [id, 'tcp', 40000, port, a, b, c, d];
};
const requests = (count: number, port: number, to: string) =>
  Array.from({ length: count }, (_, id) => request(id, port, to));

const open: Disposable[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each[Symbol.dispose]();
});

function start(maxConnections = SPEC.maxConnections) {
  const machine = new Machine();
  const connector = new Connector(VSOCK, { spec: { ...SPEC, maxConnections }, backEnd: { reachHost: true } }, machine);
  open.push(connector, machine);
  return { machine, connector };
}

async function listening(): Promise<{ server: Server; port: number; clients: Socket[] }> {
  const clients: Socket[] = [];
  const server = createServer((socket) => clients.push(socket.on('error', () => {})));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({
    [Symbol.dispose]: () => {
      server.close();
      for (const socket of clients) socket.destroy();
    },
  });
  const { port } = server.address() as { port: number };
  return { server, port, clients };
}

test('a request is answered with a socket that is connected', async () => {
  const { port, clients } = await listening();
  const { machine, connector } = start();
  connector.ask([request(7, port, GATEWAY.ipv4)]);
  expect(machine.answers).toEqual([[7, 0]]);
  await until(() => clients.length === 1);
  libc.write(machine.sockets[0]!, Buffer.from('hello'), 5);
  expect((await once(clients[0]!, 'data')).toString()).toBe('hello');
});

describe('a proxy', () => {
  const EGRESS = '198.19.0.4';
  const withProxy = (egress: EgressPort | undefined) => {
    const machine = new Machine();
    const backEnd = { reachHost: false, egress: { address: EGRESS, ports: [443], names: [] } };
    const connector = new Connector(VSOCK, { spec: SPEC, backEnd, egress }, machine);
    open.push(connector, machine);
    return { machine, connector };
  };

  test('has the connections to its address and ports, and is told of each', async () => {
    const { port, clients } = await listening();
    const announced: { from: number; to: number }[] = [];
    const { machine, connector } = withProxy({ port, announce: (each) => announced.push(each) });
    connector.ask([
      request(1, 443, EGRESS),
      request(2, 80, EGRESS),
      request(3, port, EGRESS),
      request(4, 443, '198.19.0.5'),
    ]);
    connector.ask([[5, 'udp', 40000, 443, ...([...parseAddress(EGRESS)] as [number, number, number, number])]]);
    await until(() => machine.answers.length === 5);
    expect(machine.answers).toEqual([[1, 0], ...[2, 3, 4, 5].map((id) => [id, libc.EACCES])]);
    await until(() => clients.length === 1);
    expect(announced).toEqual([{ from: clients[0]?.remotePort, to: 443 }]);
  });

  test.each([
    ['that has ended', { port: undefined, announce() {} }],
    ['that never was', undefined],
  ])('%s has none', (_what, egress) => {
    const { machine, connector } = withProxy(egress);
    connector.ask([request(1, 443, EGRESS)]);
    expect(machine.answers).toEqual([[1, libc.ECONNREFUSED]]);
  });
});

test('closed destinations are refused beside others, each by its number', async () => {
  const { port } = await listening();
  const { machine, connector } = start();
  connector.ask([
    request(1, port, '127.0.0.1'),
    request(2, port, GATEWAY.ipv4),
    request(3, 80, '169.254.169.254'),
    request(4, 80, '1.1.1.1'),
  ]);
  expect(machine.answers).toEqual([
    [1, libc.EACCES],
    [2, 0],
    [3, libc.EACCES],
    [4, libc.EACCES],
  ]);
  expect(machine.sockets).toHaveLength(1);
});

test('an error of the host is the answer', () => {
  const { machine, connector } = start();
  // Loopback refuses at once, or later by the socket itself.
  connector.ask([request(1, 0, GATEWAY.ipv4)]);
  expect(machine.answers.map(([id]) => id)).toEqual([1]);
});

test('more requests than a relay has, without an answer, are refused', () => {
  const { machine, connector } = start(100);
  machine.hasRoom = false;
  connector.ask(requests(200, 80, '10.0.0.1'));
  expect(() => connector.ask(requests(1, 80, '10.0.0.1'))).toThrow('too many connections are asked for');
  expect(machine.answers).toEqual([]);
});

test('what finds no room is answered later, each once and in order', async () => {
  const { machine, connector } = start();
  machine.hasRoom = false;
  connector.ask(requests(150, 80, '10.0.0.1'));
  await until(() => machine.refused > 3);
  machine.hasRoom = true;
  await until(() => machine.answers.length >= 150);
  expect(machine.answers.map(([id]) => id)).toEqual(Array.from({ length: 150 }, (_, id) => id));
});

test('a machine that reads nothing has few sockets on their way', async () => {
  const { port } = await listening();
  const { machine, connector } = start();
  machine.isRead = false;
  connector.ask(requests(1000, port, GATEWAY.ipv4));
  // Two portions, and then attempts that send nothing.
  await until(() => machine.answers.length === 128);
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 2));
  expect(machine.sockets).toHaveLength(128);
  machine.isRead = true;
  await until(() => machine.answers.length === 1000);
});

test('more than the rate wait for the next moment', async () => {
  vi.useFakeTimers();
  try {
    const { machine, connector } = start();
    connector.ask(requests(20_000, 80, '10.0.0.1'));
    await vi.advanceTimersByTimeAsync(500);
    const early = machine.answers.length;
    // The first second's, and half a second's more.
    expect(early).toBeGreaterThanOrEqual(10_000);
    expect(early).toBeLessThanOrEqual(15_100);
    await vi.advanceTimersByTimeAsync(1000);
    expect(machine.answers).toHaveLength(20_000);
  } finally {
    vi.useRealTimers();
  }
});

test('a host port of the vsock device is connected before what waits, without a network too', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-connector-'));
  open.push({ [Symbol.dispose]: () => rmSync(folder, { recursive: true }) });
  const path = join(folder, 'vsock');
  const server = createServer().listen(`${path}_7`);
  await once(server, 'listening');
  open.push({ [Symbol.dispose]: () => void server.close() });
  const machine = new Machine();
  const connector = new Connector(path, { spec: SPEC, backEnd: { reachHost: true } }, machine);
  open.push(connector, machine);
  machine.hasRoom = false;
  connector.ask(requests(100, 80, '10.0.0.1'));
  const accepted = once(server, 'connection');
  connector.ask([
    [1000, 'vsock', 7],
    [1001, 'vsock', 8],
  ]);
  machine.hasRoom = true;
  await until(() => machine.answers.length === 102);
  expect(machine.answers.slice(0, 2)).toEqual([
    [1000, 0],
    [1001, libc.ENOENT],
  ]);
  const [socket] = await accepted;
  libc.write(machine.sockets[0]!, Buffer.from('hello'), 5);
  expect(String(await once(socket, 'data'))).toBe('hello');
  socket.destroy();

  const isolated = new Machine();
  const withoutNetwork = new Connector(path, undefined, isolated);
  open.push(withoutNetwork, isolated);
  withoutNetwork.ask([[1, 'vsock', 8]]);
  expect(isolated.answers).toEqual([[1, libc.ENOENT]]);
  expect(() => withoutNetwork.ask(requests(1, 80, GATEWAY.ipv4))).toThrow('too many connections are asked for');
  isolated.hasRoom = false;
  const many = Array.from({ length: MAX_VSOCK_CONNECTIONS + 1 }, (_, id): PortRequest => [id, 'vsock', 8]);
  expect(() => withoutNetwork.ask(many)).toThrow('too many connections are asked for');
});

test('a machine that asks again and again for what has not come waits for the next moment', () => {
  const { machine, connector } = start();
  const [fd, address] = [libc.check(createUdp(libc.AF_INET), 'socket'), new SocketAddress()];
  address.set(Uint32Array.of(0, 0, 0xffff, 0x7f000001), 0);
  libc.check(libc.bind(fd, address.bytes, address.length), 'bind');
  connector.publish(3, fd);
  const begin = performance.now();
  let asked = 0;
  do {
    connector.arrivals(3);
    asked++;
  } while (machine.arrived.length === asked && asked < 100_000);
  // The first second's, and as many more as have become free meanwhile.
  expect(asked).toBeLessThan(10_000 + (performance.now() - begin) * 10 + 1);
  expect(asked).toBeGreaterThan(9_000);
  expect(() => connector.arrivals(3)).toThrow('no such arrivals');
});

test('nothing is answered after the end', async () => {
  const { machine, connector } = start();
  machine.hasRoom = false;
  connector.ask(requests(10, 80, '10.0.0.1'));
  open.splice(0, 1);
  connector[Symbol.dispose]();
  machine.hasRoom = true;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(machine.answers).toEqual([]);
});
