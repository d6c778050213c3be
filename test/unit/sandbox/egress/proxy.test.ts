// The proxy of placeholders between real clients and a real host with TLS on loopback: which
// requests get a value, and that nothing else does.
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import * as tls from 'node:tls';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { Authority } from '../../../../sandbox/egress/authority.js';
import { EgressProxy, HANDSHAKE_TIMEOUT, type ProxyOptions } from '../../../../sandbox/egress/proxy.js';
import type { Placeholder } from '../../../../sandbox/spec/secrets.js';
import { freePort } from '../../../fixtures/free-port.js';
import { nameServer } from '../../../fixtures/name-server.js';

const HOST = 'api.example.test';
const OTHER = 'other.example.test';
const TOKEN = 'tsvm-0123456789abcdef0123456789abcdef';
const OTHERS = 'tsvm-fedcba9876543210fedcba9876543210';
const VALUE = 'the true value';
const PLACEHOLDERS: Placeholder[] = [
  { token: TOKEN, value: VALUE, hosts: [HOST] },
  { token: OTHERS, value: "the other's value", hosts: [OTHER], headers: ['X-Own'], http: true },
];

interface Request {
  method: string | undefined;
  url: string | undefined;
  raw: string[];
  headers: http.IncomingMessage['headers'];
  body: string;
}

/** What comes to the hosts, and what they answer. */
let requests: Request[];
let answer: http.RequestListener;
let connections: number;
let disposables: (() => unknown)[];
let names: Awaited<ReturnType<typeof nameServer>>;
let proxy: EgressProxy;
let port: number;

/** A host on loopback. Its certificates are for the names alone. */
async function host(server: http.Server): Promise<number> {
  server.on('request', async (request, response) => {
    const { method, url, rawHeaders: raw, headers } = request;
    requests.push({ method, url, raw, headers, body: await text(request) });
    answer(request, response);
  });
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  disposables.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function start({
  proven = [HOST, OTHER],
  addresses = ['127.0.0.1'],
  allow = ['127.0.0.1'],
  isKnown = true,
  placeholders = PLACEHOLDERS,
  audit,
}: Partial<Pick<ProxyOptions, 'audit' | 'placeholders'>> & {
  proven?: string[];
  addresses?: string[];
  allow?: string[];
  isKnown?: boolean;
} = {}): Promise<void> {
  const authority = new Authority(proven);
  const anyOf = proven[0] ?? '';
  const secure = https.createServer({
    SNICallback: (name, done) => done(null, authority.contextOf(name) ?? authority.contextOf(anyOf)),
  });
  const ports = { 443: await host(secure), 80: await host(http.createServer()) };
  names = await nameServer(addresses);
  proxy = new EgressProxy({
    ...{ placeholders, audit },
    upstream: { allow, dns: names.dns, ca: isKnown ? authority.certificate : undefined },
    ports,
  });
  port = await proxy.listen();
  disposables.push(
    () => names[Symbol.dispose](),
    () => proxy[Symbol.dispose](),
  );
}

/** A connection with the proxy, as the owner of a machine makes it. */
async function connect(to = 443, localPort?: number): Promise<Socket> {
  const socket = dial({ port, host: '127.0.0.1', ...(localPort === undefined ? {} : { localPort }) });
  await once(socket, 'connect');
  disposables.push(() => socket.destroy());
  proxy.announce({ from: socket.localPort ?? 0, to });
  return socket;
}

/** As a guest does it that trusts the proxy's CA. */
async function connectTls(servername: string, options: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
  const socket = tls.connect({ socket: await connect(), servername, ca: proxy.certificates.own, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

interface Sent {
  name?: string;
  method?: string;
  path?: string;
  headers?: http.OutgoingHttpHeaders;
  body?: string;
}

/** Sends a request by a client of Node.js, and resolves to its answer. */
async function send({ name = HOST, body, ...options }: Sent) {
  const socket = await connectTls(name);
  const outgoing = http.request({ host: name, defaultPort: 443, createConnection: () => socket, ...options });
  outgoing.end(body);
  const [response] = (await once(outgoing, 'response')) as [http.IncomingMessage];
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

/** Sends bytes as they are, and resolves to all that comes back, until the end or a reset. */
async function sendRaw(bytes: string, socket?: Socket): Promise<string> {
  const to = socket ?? (await connectTls(HOST));
  let came = '';
  to.on('error', () => {});
  to.on('data', (chunk: Buffer) => {
    came += chunk.toString('latin1');
  });
  to.write(bytes.replaceAll('\n', '\r\n'), 'latin1');
  if (!to.closed) await new Promise((resolve) => to.once('close', resolve));
  return came;
}

beforeEach(() => {
  requests = [];
  connections = 0;
  disposables = [];
  answer = (_request, response) => response.end('answered');
});

afterEach(() => {
  for (const dispose of disposables) dispose();
});

describe('a request to a named host', () => {
  test('has the value in its headers, and the answer comes back', async () => {
    await start();
    answer = (_request, response) =>
      response.writeHead(201, { 'Set-Cookie': ['a=1', 'b=2'], 'X-Answer': 'yes' }).end('made');
    const headers = { Authorization: `Bearer ${TOKEN}`, 'X-Api-Key': TOKEN, Accept: 'text/plain' };
    const answered = await send({ method: 'POST', path: '/v1/things?of=me', headers, body: 'a body' });
    expect(answered).toMatchObject({ status: 201, body: 'made', headers: { 'x-answer': 'yes' } });
    expect(answered.headers['set-cookie']).toEqual(['a=1', 'b=2']);
    expect(requests).toMatchObject([{ method: 'POST', url: '/v1/things?of=me', body: 'a body' }]);
    expect(requests[0]?.headers).toMatchObject({
      authorization: `Bearer ${VALUE}`,
      'x-api-key': VALUE,
      host: HOST,
      accept: 'text/plain',
    });
  });

  test('of Basic authentication has it too', async () => {
    await start();
    const encode = (word: string) => `Basic ${Buffer.from(word).toString('base64')}`;
    await send({ headers: { Authorization: encode(`user:${TOKEN}`) } });
    await send({ headers: { Authorization: encode('user:other') } });
    expect(requests.map(({ headers }) => headers.authorization)).toEqual([
      encode(`user:${VALUE}`),
      encode('user:other'),
    ]);
  });

  test('has no value in its path, its body, other headers and longer words', async () => {
    await start();
    const headers = { 'X-Other': TOKEN, Origin: TOKEN, Authorization: `x${TOKEN} ${TOKEN}x ${TOKEN}-1`, Cookie: TOKEN };
    await send({ method: 'PUT', path: `/${TOKEN}`, headers, body: TOKEN });
    expect(JSON.stringify(requests)).not.toContain(VALUE);
    expect(requests[0]).toMatchObject({ url: `/${TOKEN}`, body: TOKEN });
  });

  test('has no value of another host', async () => {
    await start();
    await send({ headers: { Authorization: OTHERS, 'X-Own': OTHERS } });
    await send({ name: OTHER, headers: { Authorization: TOKEN, 'X-Own': OTHERS } });
    expect(requests[0]?.headers).toMatchObject({ authorization: OTHERS, 'x-own': OTHERS });
    expect(requests[1]?.headers).toMatchObject({ authorization: TOKEN, 'x-own': "the other's value", host: OTHER });
  });

  test('may have a body in chunks, and one connection many requests', async () => {
    await start();
    answer = (_request, response) => {
      response.write('in ');
      response.end('pieces');
    };
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    const socket = await connectTls(HOST);
    agent.createConnection = () => socket;
    for (const body of ['first', 'x'.repeat(200_000)]) {
      const outgoing = http.request({ host: HOST, agent, protocol: 'https:', method: 'POST' });
      outgoing.setHeader('Transfer-Encoding', 'chunked');
      outgoing.end(body);
      const [response] = (await once(outgoing, 'response')) as [http.IncomingMessage];
      expect(await text(response)).toBe('in pieces');
    }
    expect(requests.map(({ body }) => body.length)).toEqual([5, 200_000]);
    expect([socket.destroyed, connections]).toEqual([false, 2]);
    agent.destroy();
  });

  test('is answered with tokens in the place of values that headers repeat', async () => {
    const placeholders = [
      ...PLACEHOLDERS,
      { token: OTHERS, value: `${VALUE} $& and more`, hosts: [HOST] },
      { token: `${OTHERS}-short`, value: 'short', hosts: [HOST] },
    ];
    await start({ placeholders });
    answer = ({ headers }, response) =>
      response
        .writeHead(401, { 'WWW-Authenticate': `Bearer error="${headers.authorization}"`, 'X-Short': 'a short word' })
        .end(headers.authorization);
    const repeated = await send({ headers: { Authorization: `${TOKEN}, ${OTHERS}` } });
    expect(repeated.headers).toMatchObject({
      'www-authenticate': `Bearer error="${TOKEN}, ${OTHERS}"`,
      'x-short': 'a short word',
    });
    expect(repeated.body).toBe(`${VALUE}, ${VALUE} $& and more`);
  });

  test('comes back as a redirect, which is not followed', async () => {
    await start();
    answer = (_request, response) => response.writeHead(302, { Location: `https://${OTHER}/` }).end();
    expect(await send({ headers: { Authorization: TOKEN } })).toMatchObject({
      status: 302,
      headers: { location: `https://${OTHER}/` },
    });
    expect(requests).toHaveLength(1);
  });

  test('is answered with what there is of a host that breaks off', async () => {
    await start();
    answer = (_request, response) => {
      response.writeHead(200, { 'Content-Length': '100' });
      response.write('part', () => response.destroy());
    };
    await expect(send({})).rejects.toThrow(/aborted/);
  });

  test('is answered by a host that has not read all of it', async () => {
    await start();
    const [server] = [
      createServer((socket) => socket.once('data', () => socket.end('HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno'))),
    ];
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    disposables.push(() => server.close());
    const socket = await plainTo((server.address() as AddressInfo).port);
    const answered = sendRaw(`POST / HTTP/1.1\nHost: ${OTHER}\nContent-Length: 10\nConnection: close\n\n01234`, socket);
    expect(await answered).toMatch(/^HTTP\/1.1 413[\s\S]*no$/);
  });
});

/** A connection without TLS, of a proxy whose hosts have this port. */
async function plainTo(to: number): Promise<Socket> {
  proxy[Symbol.dispose]();
  proxy = new EgressProxy({
    placeholders: PLACEHOLDERS,
    upstream: { allow: ['127.0.0.1'], dns: names.dns },
    ports: { 80: to },
  });
  port = await proxy.listen();
  return await connect(80);
}

describe('hop by hop', () => {
  test('headers of the connection and those that it names stay behind, and framing is made anew', async () => {
    await start();
    await sendRaw(
      `POST / HTTP/1.1
Host: ${HOST}:443
Connection: close, X-Mine
X-Mine: a
Keep-Alive: b
Proxy-Authorization: ${TOKEN}
TE: trailers
Trailer: X-After
Expect: 100-continue
Transfer-Encoding: chunked
X-Yours: c

2
ab
0
X-After: d

`,
    );
    const { raw = [], body } = requests[0] ?? {};
    expect(body).toBe('ab');
    expect(raw).toEqual(['Host', HOST, 'X-Yours', 'c', 'Transfer-Encoding', 'chunked', 'Connection', 'close']);
  });

  test('a body of a request that has none by custom cannot become a second request', async () => {
    await start();
    const inner = `GET /inner HTTP/1.1\nHost: ${OTHER}\n\n`.replaceAll('\n', '\r\n');
    const size = Buffer.byteLength(inner).toString(16);
    await sendRaw(
      `GET / HTTP/1.1\nHost: ${HOST}\nConnection: close\nTransfer-Encoding: chunked\n\n${size}\n`.concat(
        `${inner}\n0\n\n`.replaceAll('\r\n', '\n'),
      ),
    );
    expect(requests.map(({ url, body }) => [url, body])).toEqual([['/', inner]]);
  });
});

describe('refused, without a connection to a host', () => {
  const ask = (lines: string) => sendRaw(`${lines}\nConnection: close\n\n`);

  test.each([
    ['another named host', `GET / HTTP/1.1\nHost: ${OTHER}`, 421],
    ['another host', 'GET / HTTP/1.1\nHost: example.org', 421],
    ['another port', `GET / HTTP/1.1\nHost: ${HOST}:8443`, 421],
    ['an empty host', 'GET / HTTP/1.1\nHost:', 421],
    ['no host', 'GET / HTTP/1.1\nX-A: b', 400],
    ['no host, by an earlier HTTP', 'GET / HTTP/1.0\nX-A: b', 421],
    ['two hosts', `GET / HTTP/1.1\nHost: ${HOST}\nHost: ${OTHER}`, 400],
    ['one host twice', `GET / HTTP/1.1\nHost: ${HOST}\nhost: ${HOST}`, 400],
    ['a whole URL', `GET https://${HOST}/ HTTP/1.1\nHost: ${HOST}`, 400],
    ['no path', `OPTIONS * HTTP/1.1\nHost: ${HOST}`, 400],
    ['TRACE', `TRACE / HTTP/1.1\nHost: ${HOST}\nAuthorization: ${TOKEN}`, 405],
    ['two lengths', `POST / HTTP/1.1\nHost: ${HOST}\nContent-Length: 1\nContent-Length: 2`, 400],
    ['a length and chunks', `POST / HTTP/1.1\nHost: ${HOST}\nContent-Length: 1\nTransfer-Encoding: chunked`, 400],
    ['another encoding', `POST / HTTP/1.1\nHost: ${HOST}\nTransfer-Encoding: gzip, chunked`, 501],
    ['a folded header', `GET / HTTP/1.1\nHost: ${HOST}\nX-A: b\n c: d`, 400],
    ['a space before the colon', `GET / HTTP/1.1\nHost: ${HOST}\nX-A : b`, 400],
    ['a NUL in a header', `GET / HTTP/1.1\nHost: ${HOST}\nX-A: \0`, 400],
  ])('%s', async (_what, lines, status) => {
    await start();
    expect(await ask(lines)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(connections).toBe(0);
  });

  test('headers of more than 64 KiB', async () => {
    await start();
    expect(await ask(`GET / HTTP/1.1\nHost: ${HOST}\nX-A: ${'b'.repeat(70_000)}`)).toMatch(/^(HTTP\/1.1 431 |$)/);
    expect(connections).toBe(0);
  });

  test('headers of more than 64 KiB with their values', async () => {
    await start({ placeholders: [{ token: TOKEN, value: 'v'.repeat(8192), hosts: [HOST] }] });
    expect(await ask(`GET / HTTP/1.1\nHost: ${HOST}\nAuthorization: ${`${TOKEN} `.repeat(8)}`)).toMatch(
      /^HTTP\/1.1 431 /,
    );
    expect(connections).toBe(0);
  });

  test('another protocol, and CONNECT', async () => {
    await start();
    const upgrade = `GET / HTTP/1.1\nHost: ${HOST}\nConnection: Upgrade, close\nUpgrade: websocket\n\n`;
    expect(await sendRaw(upgrade)).toMatch(/^HTTP\/1.1 501 /);
    expect(await sendRaw(`CONNECT ${HOST}:443 HTTP/1.1\nHost: ${HOST}\n\n`)).toBe('');
    expect(connections).toBe(0);
  });

  test('a client of TLS that names no host, another one, or speaks HTTP/2 alone', async () => {
    await start();
    const refused = /alert|handshake|disconnected|reset/i;
    await expect(connectTls('')).rejects.toThrow(refused);
    await expect(connectTls('example.org')).rejects.toThrow(refused);
    await expect(connectTls(HOST, { ALPNProtocols: ['h2'] })).rejects.toThrow(refused);
    expect((await connectTls(HOST, { ALPNProtocols: ['h2', 'http/1.1'] })).alpnProtocol).toBe('http/1.1');
  });

  test.each([
    ['is inside', { addresses: ['127.0.0.1'], allow: [] }],
    ['is inside, by one of its addresses', { addresses: ['1.1.1.1', '10.0.0.1'] }],
    ['is unknown', { addresses: [] }],
  ])('a host that %s', async (_what, options) => {
    await start(options);
    expect(await send({ headers: { Authorization: TOKEN } })).toMatchObject({ status: 502 });
    expect(connections).toBe(0);
  });
});

test.each([
  ['proves another name', { proven: [OTHER] }],
  ['has a certificate of an unknown CA', { isKnown: false }],
])('a host that %s gets no request', async (_what, options) => {
  await start(options);
  expect(await send({ headers: { Authorization: TOKEN } })).toMatchObject({ status: 502 });
  expect([requests.length, connections]).toEqual([0, 1]);
});

describe('without TLS', () => {
  test('a value goes to the host that is named so, and to no other', async () => {
    await start();
    const ask = async (name: string, header: string) =>
      await sendRaw(`GET / HTTP/1.1\nHost: ${name}\n${header}\nConnection: close\n\n`, await connect(80));
    expect(await ask(OTHER, `X-Own: ${OTHERS}`)).toMatch(/^HTTP\/1.1 200 /);
    expect(requests[0]?.headers['x-own']).toBe("the other's value");
    expect(await ask(HOST, `Authorization: ${TOKEN}`)).toMatch(/^HTTP\/1.1 421 /);
    expect(requests).toHaveLength(1);
  });
});

describe('a connection of another user of the host', () => {
  test('is not served, whatever it sends', async () => {
    await start();
    const socket = dial(port, '127.0.0.1');
    await once(socket, 'connect');
    disposables.push(() => socket.destroy());
    const came = sendRaw(`GET / HTTP/1.1\nHost: ${OTHER}\nX-Own: ${OTHERS}\n\n`, socket);
    const own = await connect(80);
    expect(await sendRaw(`GET / HTTP/1.1\nHost: ${OTHER}\nConnection: close\n\n`, own)).toMatch(/^HTTP\/1.1 200 /);
    expect(await came).toBe('');
    expect(requests).toHaveLength(1);
  });

  test('is not served from the port of a socket of the owner that has another address', async () => {
    await start();
    const stranger = dial({ port, host: '127.0.0.1', localAddress: '127.0.0.2', localPort: await freePort() });
    await once(stranger, 'connect');
    disposables.push(() => stranger.destroy());
    const came = sendRaw(`GET / HTTP/1.1\nHost: ${OTHER}\nConnection: close\n\n`, stranger);
    const own = await connect(80, stranger.localPort);
    expect(await sendRaw(`GET / HTTP/1.1\nHost: ${OTHER}\nConnection: close\n\n`, own)).toMatch(/^HTTP\/1.1 200 /);
    expect(await came).toBe('');
    expect(requests).toHaveLength(1);
  });

  test('keeps no connection of the owner out, and neither do many of them', async () => {
    await start();
    const strangers = Array.from({ length: 300 }, () => dial(port, '127.0.0.1').on('error', () => {}));
    disposables.push(...strangers.map((socket) => () => socket.destroy()));
    await Promise.all(strangers.map((socket) => once(socket, 'connect')));
    const own = await connect(80);
    expect(await sendRaw(`GET / HTTP/1.1\nHost: ${OTHER}\nConnection: close\n\n`, own)).toMatch(/^HTTP\/1.1 200 /);
  });

  test('is served by none if it is announced for another port', async () => {
    await start();
    expect(await sendRaw('GET / HTTP/1.1\n\n', await connect(8080))).toBe('');
  });
});

describe('the audit log', () => {
  let folder: string;
  const lines = () =>
    readFileSync(join(folder, 'audit.log'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { status?: number; omitted?: number });
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const audited = () => ({ file: join(folder, 'audit.log'), about: { tenant: 'acme', job: 'job-1' } });

  test('has a line for each request once its answer begins, without path and value', async () => {
    await start({ audit: audited() });
    await send({ method: 'POST', path: '/path?of=it', headers: { Authorization: `Bearer ${TOKEN}`, Cookie: TOKEN } });
    await send({ headers: { Host: OTHER } });
    answer = (request) => request.socket.destroy();
    await send({});
    expect(lines()).toEqual(
      [
        { host: HOST, method: 'POST', status: 200, values: 1 },
        { method: 'GET', status: 421, values: 0 },
        { host: HOST, method: 'GET', status: 502, values: 0 },
      ].map((line) => ({
        ...{ level: 30, time: expect.stringMatching(/^\d{4}-.*Z$/), tenant: 'acme', job: 'job-1' },
        ...{ ...line, milliseconds: expect.any(Number) },
      })),
    );
    expect(readFileSync(join(folder, 'audit.log'), 'utf8')).not.toMatch(/path|true value|tsvm-0/);
    expect(statSync(join(folder, 'audit.log')).mode & 0o777).toBe(0o600);
  });

  test('counts the requests that have no line, of a guest that asks often', async () => {
    await start({ audit: audited() });
    const ask = async () => await sendRaw(`GET / HTTP/1.1\nHost: ${HOST}\nConnection: close\n\n`, await connect(80));
    for (let count = 0; count < 100; count++) expect(await ask()).toMatch(/^HTTP\/1.1 421 /);
    proxy[Symbol.dispose]();
    const told = lines();
    expect(
      told.filter(({ status }) => status === 421).length + told.reduce((sum, each) => sum + (each.omitted ?? 0), 0),
    ).toBe(100);
  });
});

test('a host that says nothing in the handshake is answered for', async () => {
  await start();
  const silent = createServer();
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  disposables.push(() => silent.close());
  proxy[Symbol.dispose]();
  proxy = new EgressProxy({
    ...{ placeholders: PLACEHOLDERS, upstream: { allow: ['127.0.0.1'], dns: names.dns } },
    ports: { 443: (silent.address() as AddressInfo).port },
  });
  port = await proxy.listen();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  const asked = once(silent, 'connection');
  const answered = send({ headers: { Authorization: TOKEN } });
  await asked;
  vi.advanceTimersByTime(HANDSHAKE_TIMEOUT);
  expect(await answered).toMatchObject({ status: 502 });
});

test('a guest has 256 connections', async () => {
  await start();
  answer = () => {};
  const sockets = [];
  for (let count = 0; count < 257; count++) sockets.push(await connect(80));
  const [last] = sockets.slice(-1);
  if (last?.closed === false) await once(last, 'close');
  expect(sockets.filter(({ closed }) => closed)).toHaveLength(1);
});

test('requests that do not wait for answers end the connection', async () => {
  await start();
  answer = () => {};
  expect(await sendRaw(`GET / HTTP/1.1\nHost: ${HOST}\n\n`.repeat(100))).toBe('');
  expect(connections).toBeLessThanOrEqual(1);
});

test('a client that goes away ends the request to the host', async () => {
  await start();
  let ended = false;
  answer = (_request, response) => {
    response.write('begun');
    response.on('close', () => {
      ended = true;
    });
  };
  const socket = await connectTls(HOST);
  socket.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  await once(socket, 'data');
  socket.destroy();
  while (!ended) await sleep(10);
});
