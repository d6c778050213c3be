// The machine's side of its connections: requests of one turn go together, each is answered once by
// its number, and an owner that answers something else ends the machine.
import { expect, test } from 'vitest';
import { parseAddress } from '../../../../addresses/ip.js';
import { EventLoop } from '../../../../vmm/host/event-loop.js';
import * as libc from '../../../../vmm/host/libc.js';
import type { Arrival, ConnectRequest, PortRequest } from '../../../../vmm/machine.js';
import { AskedSockets } from '../../../../vmm/process/asked-sockets.js';

const ADDRESS = parseAddress('1.2.3.4');

function start() {
  const loop = new EventLoop();
  const sent: (ConnectRequest | PortRequest)[][] = [];
  const listened: number[] = [];
  const sockets = new AskedSockets(loop, (event) => {
    if (event.type === 'connect') sent.push(event.asked);
    else listened.push(event.published);
  });
  const came: [number, number][] = [];
  const ask = (port: number) => sockets.connect('tcp', 40000, ADDRESS, port, (fd) => came.push([port, fd]));
  return { loop, sent, listened, sockets, came, ask, [Symbol.dispose]: () => loop[Symbol.dispose]() };
}

const none = () => [];

test('requests of one turn go in one message, and many in several', () => {
  using it = start();
  it.ask(80);
  it.ask(81);
  expect(it.sent).toEqual([]);
  it.loop.poll(0);
  const words = [...ADDRESS];
  expect(it.sent).toEqual([
    [
      [1, 'tcp', 40000, 80, ...words],
      [2, 'tcp', 40000, 81, ...words],
    ],
  ]);
  for (let port = 1; port <= 150; port++) it.ask(port);
  it.loop.poll(0);
  expect(it.sent.slice(1).map(({ length }) => length)).toEqual([64, 64, 22]);
  it.loop.poll(0);
  expect(it.sent).toHaveLength(4);
});

test('host ports of the vsock device are asked for with the others', () => {
  using it = start();
  it.ask(80);
  it.sockets.connectToPort(1024, (fd) => it.came.push([1024, fd]));
  it.loop.poll(0);
  expect(it.sent).toEqual([
    [
      [1, 'tcp', 40000, 80, ...ADDRESS],
      [2, 'vsock', 1024],
    ],
  ]);
  it.sockets.answered([[2, 0]], () => [100]);
  expect(it.came).toEqual([[1024, 100]]);
});

test('answers find their requests in any order, with sockets for those that have one', () => {
  using it = start();
  for (const port of [80, 81, 82]) it.ask(port);
  it.sockets.answered(
    [
      [3, 0],
      [1, libc.ECONNREFUSED],
      [2, 0],
    ],
    (count) => [100, 101, 102].slice(0, count),
  );
  expect(it.came).toEqual([
    [82, 100],
    [80, -libc.ECONNREFUSED],
    [81, 101],
  ]);
});

test('an answer to no request, a second one, or one without its socket, is an error, and sockets are closed', () => {
  using it = start();
  it.ask(80);
  expect(() => it.sockets.answered([[1, 0]], none)).toThrow('answers what was not asked');
  const [given, kept] = libc.createSocketPair();
  expect(() => it.sockets.answered([[7, 0]], () => [given])).toThrow('answers what was not asked');
  libc.setNonBlocking(kept);
  expect(libc.read(kept, Buffer.alloc(1), 1)).toBe(0);
  libc.close(kept);
  it.sockets.answered([[1, libc.ECONNREFUSED]], none);
  expect(() => it.sockets.answered([[1, libc.ECONNREFUSED]], none)).toThrow('answers what was not asked');
});

test('arrivals are asked for at once, and come with their sockets, or end the machine', () => {
  using it = start();
  const arrival: Arrival = {
    client: [0, 0, 0xffff, 1],
    clientPort: 1,
    here: [0, 0, 0xffff, 2],
    payload: '',
    hasSocket: true,
  };
  const came: unknown[] = [];
  it.sockets.arrivals(3, (arrivals, sockets, hasMore) => came.push(arrivals.length, sockets, hasMore));
  expect(it.listened).toEqual([3]);
  const two = { published: 3, arrivals: [arrival, { ...arrival, hasSocket: false }], hasMore: true };
  it.sockets.arrived(two, (count) => [100].slice(0, count));
  expect(came).toEqual([2, [100], true]);
  expect(() => it.sockets.arrived({ published: 3, arrivals: [], hasMore: false }, none)).toThrow(
    'answers what was not asked',
  );
  it.sockets.arrivals(3, () => {});
  expect(() => it.sockets.arrived(two, none)).toThrow('answers what was not asked');
});
