// Ports of sandboxes over HTTP: who gets in, what passes through and what does not, and what ends a
// connection. The sandbox's side is a real server, which a connection of TCP reaches in the place
// of the agent's tool.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import {
  Agent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  request,
  createServer as serveHttp,
} from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, PassThrough, Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { SandboxError } from '../../../sandbox/errors.js';
import type { Container } from '../../../sandbox/index.js';
import { portFinder } from '../../../service/http/port-host.js';
import { RequestRates } from '../../../service/http/rate-limiter.js';
import { type HttpServer, startServer } from '../../../service/http/server.js';
import { Jobs } from '../../../service/jobs/jobs.js';
import { ContainerMachines } from '../../../service/jobs/machines.js';
import { specSchema, type Tenant } from '../../../service/records.js';
import { Commands } from '../../../service/sandboxes/commands.js';
import { Files } from '../../../service/sandboxes/files.js';
import { MAX_PLACES, Places } from '../../../service/sandboxes/places.js';
import { MAX_CONNECTIONS, Ports } from '../../../service/sandboxes/ports.js';
import { Sandboxes } from '../../../service/sandboxes/sandboxes.js';
import { Snapshots } from '../../../service/sandboxes/snapshots.js';
import { tell } from '../../../service/sandboxes/tell.js';
import { type Database, openDatabase } from '../../../service/store/database.js';
import { FileStore } from '../../../service/store/file-store.js';
import { JobStore } from '../../../service/store/job-store.js';
import { SandboxStore } from '../../../service/store/sandbox-store.js';
import { SecretStore } from '../../../service/store/secret-store.js';
import { SnapshotStore } from '../../../service/store/snapshot-store.js';
import { Statistics } from '../../../service/store/statistics.js';
import { TenantStore } from '../../../service/store/tenant-store.js';
import { HOST, send } from '../../fixtures/service.js';

const ACME: Tenant = { name: 'acme', sandboxes: 9, snapshots: 9, jobs: 9, files: 2 ** 20, rate: 'none', ...HOST };
const OTHER: Tenant = { ...ACME, name: 'other' };
const ID = 'sb-00000000000000aa';
const OTHER_ID = 'sb-00000000000000bb';
const TIMES = { head: 60_000, idle: 60_000 };
/** Of tests that wait for the one or the other. */
const SHORT_HEAD = { head: 200 };
const SHORT_IDLE = { idle: 2000 };

const times = { ...TIMES };
let folder: string;
let database: Database;
let store: SandboxStore;
let server: HttpServer;
let key: string;
let token: string;
let url: URL;
const faults: string[] = [];
/** Connections into sandboxes that are open. */
const open = new Set<Duplex>();
const inside: Server[] = [];

const onFault = (message: string) => void faults.push(message);

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-ports-'));
  database = openDatabase(folder);
  database.exec('PRAGMA synchronous = OFF');
  const tenants = new TenantStore(database);
  for (const tenant of [ACME, OTHER]) tenants.add(tenant);
  key = tenants.addKey('acme');
  const machines = { folder, host: HOST, accel: 'auto', jail: 'require', onFault, onFallback: () => {} } as const;
  const [places, files] = [new Places(), new FileStore(folder)];
  const secrets = new SecretStore(database, folder);
  store = new SandboxStore(database);
  const sandboxes = new Sandboxes(store, secrets, places, machines);
  const runs = new ContainerMachines('boot', files, secrets, machines);
  for (const [tenant, id] of [
    [ACME, ID],
    [OTHER, OTHER_ID],
  ] as const) {
    store.add(tenant, HOST, { id, spec: specSchema.parse({ image: 'debian:12' }) });
    store.run(id);
  }
  token = store.portsToken(ID) ?? '';
  server = await startServer(
    { host: '127.0.0.1', port: 0 },
    {
      ...{ folder, tenants, sandboxes, places, secrets, onFault, templates: new Map() },
      jobs: new Jobs(new JobStore(database), files, runs, { host: HOST, onFault }),
      statistics: new Statistics(database),
      snapshots: new Snapshots(new SnapshotStore(database), sandboxes, machines),
      commands: new Commands(sandboxes, places),
      files: new Files(sandboxes),
      ports: { connect: async (_tenant, _id, port) => connectLocally(port) },
      rates: new RequestRates({ count: 1e6, period: 1000 }),
      domain: 'box.test:7070',
      portTimes: Object.assign(times, TIMES),
    },
  );
  url = new URL(server.url);
});

afterEach(async () => {
  for (const each of inside.splice(0)) each.close();
  await server.close();
  database.close();
  rmSync(folder, { recursive: true });
  expect(faults).toEqual([]);
  // Nothing of a connection is left.
  while (open.size > 0) await sleep(5);
});

/**
 * As the agent's tool connects: a stream of its own, with the error that a port without a server
 * has.
 */
function connectLocally(port: number): Duplex {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const connection = Duplex.from({ writable: socket, readable: socket });
  open.add(connection);
  connection.on('error', () => {});
  connection.once('end', () => connection.destroy());
  connection.once('close', () => {
    socket.destroy();
    open.delete(connection);
  });
  socket.on('error', (cause) => connection.destroy(new SandboxError('tool', 'the port', { cause })));
  return connection;
}

async function listening(each: Server): Promise<number> {
  inside.push(each);
  each.listen(0, '127.0.0.1');
  await once(each, 'listening');
  return (each.address() as AddressInfo).port;
}

const serve = (listener: RequestListener) => listening(serveHttp(listener));
/** What answers each connection with these bytes once it has read a head, and ends it if told. */
const answering = (bytes: string, ends = true) =>
  listening(
    createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => (ends ? socket.end(bytes) : socket.write(bytes)));
    }),
  );

interface Ask {
  method?: string;
  path?: string;
  headers?: Record<string, string | string[]>;
  body?: Buffer | Readable;
  host?: string;
  agent?: Agent;
}

function asking(port: number | string, { method = 'GET', path = '/', headers = {}, body, host, agent }: Ask = {}) {
  const Host = host ?? `${port}-${ID}.box.test:7070`;
  const given = { 'E2b-Traffic-Access-Token': token, Host, ...headers };
  const asked = request(url, { method, path, headers: given, ...(agent === undefined ? {} : { agent }) });
  if (body instanceof Readable) body.pipe(asked);
  else asked.end(body);
  return asked;
}

async function ask(port: number | string, what: Ask = {}): Promise<IncomingMessage> {
  const [answer] = (await once(asking(port, what), 'response')) as [IncomingMessage];
  return answer;
}

async function refused(port: number | string, what: Ask = {}) {
  const answer = await ask(port, what);
  const body = JSON.parse(await text(answer)) as { code: string; detail: string };
  return { status: answer.statusCode, code: body.code, body: JSON.stringify(body) };
}

/** What the server answers to these bytes until it ends the connection. */
async function raw(bytes: string): Promise<string> {
  const socket = connect(Number(url.port), url.hostname);
  socket.on('error', () => {});
  socket.write(bytes);
  return await text(socket);
}

const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

describe('a host', () => {
  test('names a port of a sandbox, in any case and with any port of the server', () => {
    const find = portFinder('Box.Test:7070');
    for (const rest of ['', ':7070', ':443'])
      expect(find(`8080-${ID}.box.test${rest}`)).toEqual({ id: ID, port: 8080 });
    expect(find(`65535-${ID.toUpperCase()}.BOX.test`)).toEqual({ id: ID, port: 65_535 });
  });

  test.each([
    [`8080-${ID}.box.test.`],
    [`8080-${ID}.boxxtest`],
    [`8080-${ID}.a.box.test`],
    [`8080-${ID}`],
    [`8080-${ID}.`],
    [`8080-${ID}0.box.test`],
    [`08080-${ID}.box.test`],
    [`0-${ID}.box.test`],
    [`65536-${ID}.box.test`],
    [`49983-${ID}.box.test`],
    [`x-8080-${ID}.box.test`],
    [`8080-${ID}.box.test:x`],
    ['box.test'],
    [''],
  ])('%j names none', (host) => {
    expect(portFinder('box.test')(host)).toBeUndefined();
    expect(portFinder(undefined)(`8080-${ID}.box.test`)).toBeUndefined();
  });

  test('of a port has all paths, and other hosts have the API', async () => {
    const port = await serve(({ url: path }, answer) => answer.end(`inside ${path}`));
    for (const path of [
      '/',
      '/healthz',
      '/v1/sandboxes',
      '/openapi.json',
      '/sandboxes',
      '/health',
      '/a?b=c#d',
      '/%2e/..',
    ]) {
      expect(await text(await ask(port, { path, headers: { Authorization: `Bearer ${key}` } }))).toBe(`inside ${path}`);
    }
    for (const host of [`${port}-${ID}.other.test`, url.host, 'box.test']) {
      expect(JSON.parse(await text(await ask(port, { path: '/healthz', host })))).toEqual({ status: 'ok' });
    }
  });

  test('and its token are told to those with a key', async () => {
    const show = (id: string) => send(`${url}v1/sandboxes/${id}/ports`, { key });
    expect((await show(ID)).body).toEqual({ host: `PORT-${ID}.box.test:7070`, token });
    expect(await show(OTHER_ID)).toMatchObject({ status: 404, body: { code: 'not-found' } });
  });
});

describe('a token', () => {
  test('that is wrong, of another sandbox, or of commands is answered as a sandbox that there is not', async () => {
    const port = await serve((_, answer) => answer.end('inside'));
    const other = store.portsToken(OTHER_ID) ?? '';
    const ended = 'sb-00000000000000cc';
    store.add(ACME, HOST, { id: ended, spec: specSchema.parse({ image: 'debian:12' }) });
    store.run(ended);
    const late = store.portsToken(ended) ?? '';
    store.end(store.find('acme', ended), { reason: 'stopped' });
    const of = (id: string) => `${port}-${id}.box.test`;
    const wrong = [
      { host: of(ID), given: '' },
      { host: of(ID), given: other },
      { host: of(ID), given: `${token}x` },
      { host: of(ID), given: store.token(ID) ?? '' },
      { host: of(ID), given: key },
      { host: of(OTHER_ID), given: token },
      { host: of(ended), given: late },
      { host: of('sb-00000000000000dd'), given: token },
      { host: of('sb-00000000000000dd'), given: '' },
    ];
    const answers = await Promise.all(
      wrong.map(({ host, given }) => refused(port, { host, headers: { 'E2b-Traffic-Access-Token': given } })),
    );
    expect(new Set(answers.map(({ body }) => body)).size).toBe(1);
    expect(answers[0]).toMatchObject({ status: 404, code: 'not-found' });
    expect(await text(await ask(port, { host: of(OTHER_ID), headers: { 'E2b-Traffic-Access-Token': other } }))).toBe(
      'inside',
    );
  });

  test('opens by either header, is in no log, and does not reach the sandbox', async () => {
    const seen: IncomingHttpHeaders[] = [];
    const port = await serve(({ headers }, answer) => {
      seen.push(headers);
      answer.end();
    });
    await buffer(await ask(port, { path: '/one?two' }));
    const other = { 'E2b-Traffic-Access-Token': [], 'X-Access-Token': token };
    await buffer(await ask(port, { headers: other }));
    await buffer(await ask(port, { headers: { 'X-Access-Token': 'its own' } }));
    expect(seen).toHaveLength(3);
    for (const headers of seen) expect(Object.keys(headers).join()).not.toMatch(/token/);
    const log = readFileSync(join(folder, 'audit.log'), 'utf8');
    expect(JSON.parse(log.split('\n')[0] ?? '')).toMatchObject({
      tenant: 'acme',
      sandbox: ID,
      port,
      path: '/one',
      status: 200,
    });
    expect(log).not.toContain(token);
  });
});

describe('a request', () => {
  test('arrives as it was sent, without what is about its connection', async () => {
    const port = await serve((incoming, answer) => {
      const { method, rawHeaders } = incoming;
      answer.writeHead(418, 'Teapot here', [
        'Set-Cookie',
        'a=1',
        'Set-Cookie',
        'b=2',
        'X-Seen',
        'yes',
        'Keep-Alive',
        'x',
      ]);
      text(incoming).then((body) => answer.end(JSON.stringify({ method, rawHeaders, body })));
    });
    const headers = {
      'X-Twice': ['1', '2'],
      Connection: 'keep-alive, X-Hop',
      'X-Hop': 'h',
      TE: 'trailers',
      Cookie: 'c=d',
    };
    const answer = await ask(port, { method: 'REPORT', headers, body: Buffer.from('words') });
    expect([answer.statusCode, answer.statusMessage]).toEqual([418, 'Teapot here']);
    expect(answer.headers).toMatchObject({ 'set-cookie': ['a=1', 'b=2'], 'x-seen': 'yes' });
    // What the API adds to its own answers is not added to these.
    for (const name of ['content-security-policy', 'x-content-type-options'])
      expect(answer.headers).not.toHaveProperty(name);
    const seen = JSON.parse(await text(answer)) as { method: string; rawHeaders: string[]; body: string };
    expect([seen.method, seen.body]).toEqual(['REPORT', 'words']);
    expect(seen.rawHeaders).toEqual([
      ...['Host', `${port}-${ID}.box.test:7070`, 'X-Twice', '1', 'X-Twice', '2', 'Cookie', 'c=d'],
      ...['Connection', 'close', 'Content-Length', '5'],
    ]);
  });

  test('has a body of any size in both directions, which nobody holds', async () => {
    const port = await serve((incoming, answer) => incoming.pipe(answer));
    const bytes = randomBytes(20_000_000);
    for (const body of [bytes, Readable.from([bytes.subarray(0, 7_000_000), bytes.subarray(7_000_000)])]) {
      const answer = await ask(port, { method: 'POST', body });
      expect(hash(await buffer(answer))).toBe(hash(bytes));
    }
    // A reader that takes nothing stops the writer.
    let written = 0;
    const endless = await serve((_, answer) => {
      const more = () => {
        while (!answer.destroyed && answer.write(Buffer.alloc(65_536))) written += 65_536;
      };
      answer.on('drain', more);
      more();
    });
    const slow = await ask(endless);
    slow.on('error', () => {});
    for (let before = -1; before !== written; await sleep(100)) before = written;
    expect(written).toBeLessThan(20_000_000);
    slow.destroy();
  });

  test('follows another on one connection, and each has a connection of its own inside', async () => {
    let connections = 0;
    const web = serveHttp((incoming, answer) => incoming.resume().on('end', () => answer.end('yes')));
    web.on('connection', () => connections++);
    const port = await listening(web);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ways = new Set<number | undefined>();
    for (let n = 0; n < 20; n++) {
      const what = n % 2 === 0 ? { method: 'POST', body: Buffer.from('x') } : {};
      const answer = await ask(port, { ...what, agent });
      ways.add(answer.socket.localPort);
      expect(await text(answer)).toBe('yes');
    }
    expect([connections, ways.size]).toEqual([20, 1]);
    agent.destroy();
  });

  test('that is answered before its body has come ends its connection', async () => {
    const port = await answering('HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno');
    const endless = new Readable({ read: () => void endless.push(Buffer.alloc(1000)) });
    const asked = asking(port, { method: 'POST', body: endless });
    asked.on('error', () => {});
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    expect([answer.statusCode, answer.headers.connection]).toEqual([413, 'close']);
    endless.destroy();
    asked.destroy();
  });

  const head = (lines: string, body = '') =>
    `POST / HTTP/1.1\r\nHost: PORT-${ID}.box.test\r\nX-Access-Token: TOKEN\r\n${lines}\r\n\r\n${body}`;
  test.each([
    ['two lengths', head('Content-Length: 5\r\nContent-Length: 6', 'hello!')],
    ['the same length twice', head('Content-Length: 5\r\nContent-Length: 5', 'hello')],
    ['a length and chunks', head('Content-Length: 5\r\nTransfer-Encoding: chunked', '0\r\n\r\n')],
    ['chunks and a length', head('Transfer-Encoding: chunked\r\nContent-Length: 5', '0\r\n\r\n')],
    ['another encoding', head('Transfer-Encoding: gzip, chunked', '0\r\n\r\n')],
    ['chunks twice', head('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', '0\r\n\r\n')],
    ['an encoding with a vertical tab', head('Transfer-Encoding: \vchunked', '0\r\n\r\n')],
    ['a space before a colon', head('Content-Length : 5', 'hello')],
    ['a length with a sign', head('Content-Length: +5', 'hello')],
    ['a folded line', head('X-A: b\r\n Content-Length: 5', 'hello')],
    ['a bare line feed', head('X-A: b\nContent-Length: 5', 'hello')],
    ['a whole URL', head('Content-Length: 0').replace('POST / ', 'POST http://inside/ ')],
    ['a WebSocket with a body', head('Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5', 'hello')],
  ])('with %s does not get in', async (_, bytes) => {
    let came = 0;
    const port = await serve((_incoming, answer) => {
      came++;
      answer.end();
    });
    expect(await raw(bytes.replace('PORT', String(port)).replace('TOKEN', token))).toMatch(/^HTTP\/1\.1 400 /);
    expect(came).toBe(0);
  });

  test('with two hosts has the one that it was let in by', async () => {
    const port = await serve(({ rawHeaders }, answer) => answer.end(rawHeaders.join(' ')));
    const bytes = head('Content-Length: 0\r\nHost: other\r\nConnection: close').replace('PORT', String(port));
    const answer = await raw(bytes.replace('TOKEN', token));
    if (answer.startsWith('HTTP/1.1 400 ')) return;
    expect(answer).toContain(`Host ${port}-${ID}.box.test Connection close`);
    expect(answer).not.toContain('other');
  });

  test('whose body does not go on ends inside', async () => {
    Object.assign(times, SHORT_IDLE);
    const port = await serve((incoming) => incoming.resume());
    const bytes = head('Content-Length: 100', 'the first').replace('PORT', String(port)).replace('TOKEN', token);
    expect(await raw(bytes)).toMatch(/^HTTP\/1\.1 502 /);
  });

  test('whose sender goes away ends inside', async () => {
    let gone: Promise<unknown> | undefined;
    const port = await serve((incoming) => {
      gone = once(incoming.socket, 'close');
    });
    const asked = asking(port);
    asked.on('error', () => {});
    while (gone === undefined) await sleep(5);
    asked.destroy();
    await gone;
  });
});

describe('an answer', () => {
  test.each([
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n'],
    ['nothing', ''],
    ['half a head', 'HTTP/1.1 200 OK\r\nContent-Len'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc'],
    ['a length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['another encoding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx'],
    [
      'a protocol that was not asked for',
      'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    ],
    ['a change of no protocol', 'HTTP/1.1 101 Switching\r\n\r\n'],
    ['an endless head', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`],
    ['a character that is none of a header', 'HTTP/1.1 200 OK\r\nX: \u0001\r\n\r\n'],
  ])('that is %s is a problem', async (_, bytes) => {
    expect(await refused(await answering(bytes))).toMatchObject({ status: 502, code: 'no-port' });
  });

  test('that nothing gives is a problem', async () => {
    const port = await serve(() => {});
    inside[0]?.close();
    await once(inside[0] as Server, 'close');
    expect(await refused(port)).toMatchObject({ status: 502, code: 'no-port' });
  });

  test('that does not begin, or does not go on, is ended', async () => {
    Object.assign(times, SHORT_HEAD);
    expect(await refused(await answering('', false))).toMatchObject({ status: 504, code: 'unresponsive' });
    // The answer begins within it, however busy the host is.
    Object.assign(times, TIMES, { idle: 10_000 });
    const port = await answering('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel', false);
    const answer = await ask(port);
    expect(answer.statusCode).toBe(200);
    await expect(text(answer)).rejects.toThrow('aborted');
  });

  test('that breaks off is not taken for a whole one', async () => {
    for (const part of ['Content-Length: 5\r\n\r\nhell', 'Transfer-Encoding: chunked\r\n\r\n3\r\nhe']) {
      const port = await answering(`HTTP/1.1 200 OK\r\n${part}`);
      await expect(text(await ask(port))).rejects.toThrow('aborted');
    }
  });

  test('of no length goes on in chunks, and interim answers do not', async () => {
    const port = await answering(
      'HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.0 200 Fine\r\nServer: old\r\n\r\nall of it',
    );
    const answer = await ask(port);
    expect(answer.headers).toMatchObject({ server: 'old', 'transfer-encoding': 'chunked' });
    expect(await text(answer)).toBe('all of it');
    const none = await ask(await answering('HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n'));
    expect([none.statusCode, none.headers['content-length'], await text(none)]).toEqual([204, undefined, '']);
    const part = await ask(await answering('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n'), { method: 'HEAD' });
    expect([part.headers['content-length'], await text(part)]).toEqual(['99', '']);
  });

  test('that begins before its request has ended goes on for as long as it likes', async () => {
    Object.assign(times, { head: 100 });
    const port = await serve((incoming, answer) => {
      answer.write('begun ');
      incoming.resume().on('end', () => setTimeout(() => answer.end('ended'), 400));
    });
    const body = new PassThrough();
    const asked = asking(port, { method: 'POST', body });
    body.write('one');
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    body.end('two');
    expect(await text(answer)).toBe('begun ended');
  });

  test('is there as it comes', async () => {
    let more = () => {};
    const port = await serve((_, answer) => {
      answer.write('one');
      more = () => answer.end('two');
    });
    const answer = await ask(port);
    expect(String((await once(answer, 'data'))[0])).toBe('one');
    more();
    expect(String((await once(answer, 'data'))[0])).toBe('two');
  });
});

describe('a WebSocket', () => {
  async function serveSockets(act: (socket: WebSocket, incoming: IncomingMessage) => void): Promise<number> {
    const web = serveHttp();
    new WebSocketServer({ server: web }).on('connection', act);
    return await listening(web);
  }
  const socketTo = (port: number, given = token) =>
    new WebSocket(`ws://${url.host}/path`, 'chat', {
      headers: { Host: `${port}-${ID}.box.test`, 'E2b-Traffic-Access-Token': given },
    });

  test('carries messages of both sides, and the close of either', async () => {
    let seen: IncomingMessage | undefined;
    const port = await serveSockets((socket, incoming) => {
      seen = incoming;
      socket.on('message', (data, isBinary) =>
        String(data) === 'close' ? socket.close(4001, 'told') : socket.send(data, { binary: isBinary }),
      );
    });
    const socket = socketTo(port);
    await once(socket, 'open');
    const bytes = randomBytes(2_000_000);
    for (const message of [bytes, Buffer.from('short')]) {
      socket.send(message);
      expect(hash((await once(socket, 'message'))[0] as Buffer)).toBe(hash(message));
    }
    expect([socket.protocol, seen?.url, Object.keys(seen?.headers ?? {}).join()]).toMatchObject([
      'chat',
      '/path',
      expect.not.stringMatching(/token/),
    ]);
    socket.send('close');
    const [code, reason] = await once(socket, 'close');
    expect([code, String(reason)]).toEqual([4001, 'told']);
    const log = readFileSync(join(folder, 'audit.log'), 'utf8').trimEnd().split('\n');
    expect(JSON.parse(log.at(-1) ?? '')).toMatchObject({ sandbox: ID, path: '/path', status: 101 });
    const second = socketTo(port);
    await once(second, 'open');
    second.terminate();
    while (open.size > 0) await sleep(5);
  });

  test('that the port or the server refuses has their answer', async () => {
    const port = await serve((_, answer) => answer.writeHead(403, { 'X-Why': 'so' }).end('no'));
    const answerOf = async (socket: WebSocket) => (await once(socket, 'unexpected-response'))[1] as IncomingMessage;
    const answer = await answerOf(socketTo(port));
    expect([answer.statusCode, answer.headers['x-why'], await text(answer)]).toEqual([403, 'so', 'no']);
    const stranger = await answerOf(socketTo(port, 'wrong'));
    expect([stranger.statusCode, JSON.parse(await text(stranger)).code]).toEqual([404, 'not-found']);
  });

  test('on which nothing moves is ended', async () => {
    // As soon as it is open. What a busy host does before takes longer.
    const port = await serveSockets(() => void Object.assign(times, SHORT_IDLE));
    const socket = socketTo(port);
    const [code] = await once(socket, 'close');
    expect(code).toBe(1006);
  });

  test('has what both sides sent with their heads', async () => {
    const port = await listening(
      createServer((socket: Socket) => {
        let seen = '';
        socket.on('data', (chunk) => {
          seen += chunk;
          if (seen.endsWith('early')) socket.end('heard');
        });
        socket.write('HTTP/1.1 101 Fine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Own: 1\r\n\r\nfirst ');
      }),
    );
    const lines = [`GET / HTTP/1.1`, `Host: ${port}-${ID}.box.test`, `X-Access-Token: ${token}`];
    lines.push('Connection: Upgrade', 'Upgrade: websocket', '', 'early');
    expect(await raw(lines.join('\r\n'))).toBe(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Own: 1\r\n\r\nfirst heard',
    );
  });
});

describe('connections', () => {
  test('to one sandbox are few, and take places of their tenant until they are closed', async () => {
    const places = new Places();
    const made: Duplex[] = [];
    const openPort = async (port: number) => {
      if (port === 1) throw new SandboxError('not-running', 'it is over');
      const connection = new Duplex({ read() {} });
      made.push(connection);
      return connection;
    };
    const sandboxes = {
      use: async () => ({ container: { openPort } as unknown as Container, [Symbol.dispose]: () => {} }),
      tell: (error: unknown, what: string) => tell(error, what, onFault),
    };
    const ports = new Ports(sandboxes, places);
    const { signal } = new AbortController();
    const take = (id = ID, port = 2) => ports.connect(ACME, id, port, signal);
    for (let n = 0; n < MAX_PLACES * 2; n++) await expect(take(ID, 1)).rejects.toMatchObject({ code: 'not-running' });
    for (let n = 0; n < MAX_CONNECTIONS; n++) await take();
    await expect(take()).rejects.toMatchObject({ code: 'quota' });
    for (let n = MAX_CONNECTIONS; n < MAX_PLACES; n++) await take(OTHER_ID);
    expect(() => places.take(ACME)).toThrow('open already');
    for (const each of made) each.destroy();
    await sleep(1);
    for (let n = 0; n < MAX_CONNECTIONS; n++) await take();
  });
});
