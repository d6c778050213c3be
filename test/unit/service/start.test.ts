// A server that cannot start leaves nothing: no port, no lock of its folder, and no work that goes on.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { OwnService, send } from '../../fixtures/service.js';

/** Takes a port. */
async function takePort(host: string) {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const close = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return { host, port, close };
}

test.each(['listen', 'metrics'] as const)('of one whose port of %s is taken, nothing is left', async (which) => {
  await using service = new OwnService();
  const key = service.tenant('acme');
  // No other test listens on the second address.
  const [taken, free] = [await takePort('127.0.0.1'), await takePort('127.0.0.2')];
  await free.close();
  const ports = { listen: free, metrics: free, [which]: taken };
  await expect(service.start(ports)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  await expect(fetch(`http://${free.host}:${free.port}/`)).rejects.toThrow();
  await taken.close();
  // Longer than the time between two looks at the queue of jobs.
  await sleep(1200);
  expect(service.faults).toEqual([]);
  const url = await service.start();
  expect((await send(`${url}/v1/jobs`, { key })).status).toBe(200);
});
