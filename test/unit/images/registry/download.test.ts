// Proves that a download ends when it is aborted or late, whatever the server asks for.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { download } from '../../../../images/registry/download.js';

let server: Server;
let url: URL;

beforeEach(async () => {
  server = createServer((_, answer) => answer.writeHead(503, { 'retry-after': '100' }).end());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/f`);
});

afterEach(() => server.close());

const take = async () => {};

test('ends in the wait that a busy server asks for', async () => {
  const controller = new AbortController();
  const options = { reach: 'host', maxBytes: 1, deadline: 60_000, signal: controller.signal } as const;
  const ended = expect(download(url, options, take)).rejects.toThrow('by the user');
  await once(server, 'request');
  // The answer arrives, and the wait begins.
  await sleep(200);
  controller.abort(new Error('by the user'));
  await ended;
  const late = download(url, { reach: 'host', maxBytes: 1, deadline: 200 }, take);
  await expect(late).rejects.toMatchObject({ code: 'network', message: expect.stringContaining('took longer than') });
});
