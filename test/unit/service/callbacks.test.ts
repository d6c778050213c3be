// Callbacks of jobs, to a real HTTP server on loopback, which a range opens: what is sent and how it
// is signed, what is sent again, and where nothing is sent.
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AddressGuard } from '../../../addresses/address-guard.js';
import type { CallbackOptions } from '../../../service/jobs/callbacks.js';
import { nameServer } from '../../fixtures/name-server.js';
import { OwnService, send } from '../../fixtures/service.js';

interface Call {
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}

/** Takes callbacks. Each is answered by the next of `answers`, and by 204 after them. */
class Receiver implements AsyncDisposable {
  readonly calls: Call[] = [];
  readonly answers: ((answer: ServerResponse) => void)[] = [];
  connections = 0;
  readonly #server = createServer(async (request, answer) => {
    const body = await text(request);
    this.calls.push({ path: request.url ?? '', headers: request.headers, body });
    const act = this.answers.shift() ?? ((to) => to.writeHead(204).end());
    act(answer);
  }).on('connection', () => this.connections++);

  async start(port = 0): Promise<number> {
    this.#server.listen(port, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }
}

let service: OwnService;
let receiver: Receiver;
let key: string;
let url: string;

beforeEach(() => {
  service = new OwnService();
  receiver = new Receiver();
  key = service.tenant('acme');
});

afterEach(async () => {
  await service[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
  expect(service.faults).toEqual([]);
});

const LOOPBACK: CallbackOptions = { allow: ['127.0.0.1'], pause: 10 };
const start = async (callbacks: CallbackOptions) => {
  url = await service.start({ callbacks });
};

/** Queues a job, which ends at once: it has no image. Resolves to its ID when it has ended. */
async function submit(callback: string): Promise<string> {
  const { status, body } = await send(`${url}/v1/jobs`, { method: 'POST', key, body: { image: 'nothing', callback } });
  expect(status).toBe(201);
  const { id } = body as { id: string };
  while ((await show(id)).status !== 'ended') await sleep(10);
  return id;
}

async function show(id: string): Promise<{ status: string }> {
  return (await send(`${url}/v1/jobs/${id}`, { key })).body as { status: string };
}

test('the record of a job that has ended is sent, signed, until it is taken', async () => {
  const port = await receiver.start();
  await start(LOOPBACK);
  receiver.answers.push(
    (to) => to.writeHead(500).end(),
    (to) => to.writeHead(302, { Location: '/elsewhere' }).end(),
    (to) => to.destroy(),
    (to) => to.writeHead(200).write('x'.repeat(2 ** 20)),
  );
  const id = await submit(`http://127.0.0.1:${port}/hook?of=acme`);
  while (receiver.calls.length < 4) await sleep(10);
  // It is taken: there is no other, though there is time for several.
  await sleep(2500);
  expect(receiver.calls.map(({ path }) => path)).toEqual(Array(4).fill('/hook?of=acme'));
  const secret = Buffer.from(service.callbackSecret('acme').replace('whsec_', ''), 'base64');
  expect(secret).toHaveLength(32);
  for (const { headers, body } of receiver.calls) {
    expect(JSON.parse(body)).toEqual(await show(id));
    expect(headers).toMatchObject({ host: `127.0.0.1:${port}`, 'content-type': 'application/json', 'webhook-id': id });
    const signed = `${id}.${headers['webhook-timestamp']}.${body}`;
    expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', secret).update(signed).digest('base64')}`);
    expect(Math.abs(Date.now() / 1000 - Number(headers['webhook-timestamp']))).toBeLessThan(300);
  }
});

test('an answer that changes the protocol is a failure', async () => {
  const port = await receiver.start();
  await start(LOOPBACK);
  const head = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n';
  receiver.answers.push((to) => to.socket?.write(head));
  const id = await submit(`http://127.0.0.1:${port}/`);
  while (receiver.calls.length < 2) await sleep(10);
  expect(receiver.calls.map(({ headers }) => headers['webhook-id'])).toEqual([id, id]);
});

test('what a server has not sent, the next one sends', async () => {
  const port = await receiver.start();
  await start(LOOPBACK);
  // It gets no answer while this server is there.
  receiver.answers.push(() => {});
  const id = await submit(`http://127.0.0.1:${port}/`);
  while (receiver.calls.length < 1) await sleep(10);
  await service.stop();
  await start(LOOPBACK);
  while (receiver.calls.length < 2) await sleep(10);
  expect(receiver.calls.map(({ headers }) => headers['webhook-id'])).toEqual([id, id]);
});

test.each(['http://127.0.0.1', 'http://2130706433', 'http://[::ffff:127.0.0.1]', 'http://localhost'])(
  'nothing is sent to %s',
  async (address) => {
    const port = await receiver.start();
    await start({ pause: 1 });
    await submit(`${address}:${port}/`);
    await sleep(2500);
    expect(receiver.connections).toBe(0);
  },
);

test.each(['ftp://a/', 'file:///etc/passwd', 'http://user@a/', 'https://user:word@a/', 'a', 'http://', '//a/'])(
  '%j is no callback',
  async (callback) => {
    await start({});
    const answer = await send(`${url}/v1/jobs`, { method: 'POST', key, body: { image: 'nothing', callback } });
    expect(answer).toMatchObject({ status: 400, body: { code: 'bad-request' } });
  },
);

describe('addresses', () => {
  const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
  test.each([
    ...['127.0.0.1', '0.0.0.0', '10.0.0.1', '172.16.0.1', '192.168.1.1', '100.64.0.1', '169.254.169.254'],
    ...['168.63.129.16', '224.0.0.1', '255.255.255.255', '::1', '::', 'fe80::1', 'fd00::1', 'fd00:ec2::254'],
    ...['::ffff:10.0.0.1', '64:ff9b::a00:1', '2002:a00:1::1', ...own.map((address) => address.split('%')[0] ?? '')],
  ])('%s is refused', async (address) => {
    await expect(new AddressGuard().resolve(address)).rejects.toThrow(/outside the public Internet/);
  });

  test('of the public Internet are allowed, and what a range opens', async () => {
    expect(await new AddressGuard().resolve('1.1.1.1')).toBe('1.1.1.1');
    expect(await new AddressGuard().resolve('2606:4700::1111')).toBe('2606:4700::1111');
    const guard = new AddressGuard({ allow: ['10.1.0.0/16', '169.254.0.0/16'] });
    const is = (address: string) => guard.isAllowed(address);
    expect([is('10.1.2.3'), is('10.2.0.1'), is('169.254.1.1'), is('169.254.169.254')]).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });
});

describe('names', () => {
  test('that lead inside are refused, one address among others too', async () => {
    for (const addresses of [['127.0.0.1'], ['1.1.1.1', '10.0.0.1'], []]) {
      using names = await nameServer(addresses);
      const expected = addresses.length === 0 ? /has no address/ : /outside the public Internet/;
      await expect(new AddressGuard({ dns: names.dns }).resolve('inside.test')).rejects.toThrow(expected);
    }
    using names = await nameServer(['1.1.1.1']);
    expect(await new AddressGuard({ dns: names.dns }).resolve('outside.test')).toBe('1.1.1.1');
  });

  test('are asked for once, and what was looked at is connected to', async () => {
    using names = await nameServer(['127.0.0.1']);
    const port = await receiver.start();
    await start({ ...LOOPBACK, dns: names.dns });
    await submit(`http://hook.test:${port}/`);
    while (receiver.calls.length < 1) await sleep(10);
    expect(receiver.calls[0]?.headers.host).toBe(`hook.test:${port}`);
    expect(names.asked()).toBe(1);
  });
});
