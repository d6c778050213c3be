// A WebSocket ends with a client that is gone, that reads nothing, or that makes the server hold answers
// to pings; one that is silent and answers stays.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { Link } from '../../../service/http/socket-link.js';

const BEAT = 15_000;

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, autoPong: false });

beforeAll(async () => {
  if (server.address() === null) await once(server, 'listening');
});
afterAll(() => {
  for (const socket of server.clients) socket.terminate();
  server.close();
});

/** Both ends of a connection. */
async function connected(autoPong: boolean, beat: number) {
  const { port } = server.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}`, { autoPong });
  client.on('error', () => {});
  const [[socket]] = (await Promise.all([once(server, 'connection'), once(client, 'open')])) as [[WebSocket], unknown];
  socket.on('error', () => {});
  return { client, socket, link: new Link(socket, { beat, stall: 600_000 }), closed: once(socket, 'close') };
}

test('a client that answers pings stays, and one that does not is cut off', async () => {
  // A beat ends once the answer has come, however long a busy host takes for it.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const { socket } = await connected(true, BEAT);
  for (let n = 0; n < 3; n++) {
    const answered = once(socket, 'pong');
    vi.advanceTimersByTime(BEAT);
    await answered;
  }
  expect(socket.readyState).toBe(WebSocket.OPEN);
  const gone = await connected(false, BEAT);
  vi.advanceTimersByTime(BEAT);
  expect(gone.socket.readyState).toBe(WebSocket.OPEN);
  vi.advanceTimersByTime(BEAT);
  expect(await gone.closed).toEqual([1006, expect.anything()]);
});

test('a client that reads nothing is cut off, and sending to it ends', async () => {
  const { client, socket, link, closed } = await connected(true, 100);
  client.pause();
  const message = Buffer.alloc(2 ** 20);
  while (socket.readyState === WebSocket.OPEN) {
    await link.send(message);
    expect(socket.bufferedAmount).toBeLessThan(2 ** 21);
  }
  await closed;
});

test('a client that sends pings and reads nothing is cut off', async () => {
  const { client, socket, closed } = await connected(true, 600_000);
  client.pause();
  const data = Buffer.alloc(125);
  while (socket.readyState === WebSocket.OPEN) {
    await new Promise<void>((resolve) => client.ping(data, true, () => resolve()));
    expect(socket.bufferedAmount).toBeLessThan(2 ** 20);
  }
  await closed;
});
