// One who opens connections without an end takes them from itself: a tenant, and those who show no
// key. Others get new ones, and keep those that they have.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OwnService, send } from '../../fixtures/service.js';

/** Those that the server takes. */
const MAX_CONNECTIONS = 20;
/** Connections beyond those. */
const MORE = 5;

let service: OwnService;
let url: URL;
let keys: { many: string; few: string };
let sockets: Socket[];

beforeEach(async () => {
  service = new OwnService();
  keys = { many: service.tenant('many'), few: service.tenant('few') };
  // None ends by itself because a busy host takes long to open the others.
  url = new URL(await service.start({ connections: MAX_CONNECTIONS, headersTimeout: 100_000 }));
  sockets = [];
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await service[Symbol.asyncDispose]();
});

async function open(): Promise<Socket> {
  const socket = connect(Number(url.port), url.hostname);
  sockets.push(socket);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

const head = (key: string) => `GET /v1/tenant HTTP/1.1\r\nHost: ${url.host}\r\nAuthorization: Bearer ${key}\r\n`;

/** Sends a request on a connection that stays open. Resolves to the line of its status. */
async function ask(socket: Socket, key: string): Promise<string> {
  socket.write(`${head(key)}\r\n`);
  const [answer] = await Promise.race([once(socket, 'data'), once(socket, 'close')]);
  return String(answer).split('\r\n')[0] ?? '';
}

const OK = 'HTTP/1.1 200 OK';
const isOpen = (socket: Socket) => !socket.destroyed && !socket.readableEnded;
const openOnes = (of: readonly Socket[]) => of.filter(isOpen).length;

test.each([
  ['idle connections of a tenant', async (socket: Socket) => expect(await ask(socket, keys.many)).toBe(OK)],
  [
    'slow requests of a tenant',
    async (socket: Socket) => {
      // Its key is known, and its body never comes to its end.
      socket.write(`${head(keys.many).replace('GET /v1/tenant', 'POST /v1/jobs')}Content-Type: application/json\r\n`);
      socket.write('Expect: 100-continue\r\nContent-Length: 100\r\n\r\n');
      expect(String((await once(socket, 'data'))[0])).toContain('100 Continue');
    },
  ],
  ['connections that say nothing', async () => {}],
  ['heads of requests that never end', async (socket: Socket) => socket.write(head(keys.many))],
])('%s keep no other tenant out', async (_, use) => {
  const kept = await open();
  expect(await ask(kept, keys.few)).toBe(OK);
  const flood: Socket[] = [];
  for (let n = 0; n < MAX_CONNECTIONS + MORE; n++) {
    const socket = await open();
    await use(socket);
    flood.push(socket);
  }
  // The oldest of the flood have made room for the newest.
  await expect.poll(() => openOnes(flood)).toBe(MAX_CONNECTIONS - 1);
  expect(flood.slice(0, MORE).some(isOpen)).toBe(false);
  // Another tenant gets a new connection, and has its old one.
  expect((await send(`${url.origin}/v1/tenant`, { key: keys.few })).status).toBe(200);
  expect(await ask(kept, keys.few)).toBe(OK);
  expect(service.faults).toEqual([]);
});

test('the flood of a tenant ends no connection of those that show no key yet, and theirs none of a tenant', async () => {
  const waiting = await open();
  const mine: Socket[] = [];
  for (let n = 0; n < MAX_CONNECTIONS + MORE; n++) {
    const socket = await open();
    expect(await ask(socket, keys.many)).toBe(OK);
    mine.push(socket);
  }
  expect(await ask(waiting, keys.few)).toBe(OK);
  // Those without a key are less than the tenant until both have half.
  const theirs: Socket[] = [];
  for (let n = 0; n < MAX_CONNECTIONS; n++) theirs.push(await open());
  await expect.poll(() => openOnes(mine) + openOnes(theirs)).toBe(MAX_CONNECTIONS - 1);
  expect(Math.abs(openOnes(mine) - openOnes(theirs))).toBeLessThanOrEqual(1);
  expect(await ask(waiting, keys.few)).toBe(OK);
  expect(await ask(mine.at(-1)!, keys.many)).toBe(OK);
});

test('a server that ends waits for requests, and for no connection that has none', async () => {
  const [first, second] = [await open(), await open()];
  const others = [await open(), await open()];
  others[1]?.write(head(keys.few));
  const body = '{"value": "any"}';
  const begin = async (socket: Socket) => {
    const path = head(keys.few).replace('GET /v1/tenant', 'PUT /v1/secrets/NAME');
    socket.write(
      `${path}Content-Type: application/json\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`,
    );
    expect(String((await once(socket, 'data'))[0])).toContain('100 Continue');
  };
  for (const socket of [first, second]) await begin(socket);
  const ended = service.stop();
  await expect.poll(() => openOnes(others)).toBe(0);
  const finish = async (socket: Socket) => {
    const closed = once(socket, 'close');
    socket.write(body);
    expect(String((await once(socket, 'data'))[0])).toContain('HTTP/1.1 200');
    await closed;
  };
  // The second request is under way as long as the server waits.
  await finish(first);
  expect(isOpen(second)).toBe(true);
  await finish(second);
  await ended;
});
