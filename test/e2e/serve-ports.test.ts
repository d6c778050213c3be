// Ports of sandboxes of tsvm serve, with real machines that have no network: a server of HTTP and
// WebSockets in Python, and the clients of Node.js, `ws`, curl and E2B.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { buffer, text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { Sandbox } from 'e2b';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Container } from '../../sandbox/containers/container.js';
import { PYTHON, run, TSVM, uml } from './machine.js';
import { Served } from './served.js';

const DOMAIN = 'box.localhost:7070';
const MEMORY = 256 * 2 ** 20;

/**
 * A server that says what it is asked, gives a body back, counts for ever, and echoes messages of a
 * WebSocket.
 */
const SERVER = `
import base64, hashlib, http.server, json, socket, struct, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def answer(self, body):
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers['Content-Length'])))
    def do_GET(self):
        if self.headers.get('Upgrade') == 'websocket': return self.echo()
        if self.path != '/forever':
            return self.answer(json.dumps({'path': self.path, 'headers': dict(self.headers)}).encode())
        self.send_response(200)
        self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        for n in range(10 ** 9):
            self.wfile.write(b'4\\r\\n....\\r\\n')
            time.sleep(0.05)
    def echo(self):
        key = self.headers['Sec-WebSocket-Key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
        self.send_response(101)
        self.send_header('Upgrade', 'websocket')
        self.send_header('Connection', 'Upgrade')
        self.send_header('Sec-WebSocket-Accept', base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            first, size = self.rfile.read(2)
            size &= 127
            if size == 126: size, = struct.unpack('>H', self.rfile.read(2))
            elif size == 127: size, = struct.unpack('>Q', self.rfile.read(8))
            mask = self.rfile.read(4)
            data = self.rfile.read(size)
            wide = (mask * (size // 4 + 1))[:size]
            data = (int.from_bytes(data, 'big') ^ int.from_bytes(wide, 'big')).to_bytes(size, 'big')
            length = bytes([size]) if size < 126 else b'~' + struct.pack('>H', size) if size < 65536 else b'\\x7f' + struct.pack('>Q', size)
            self.wfile.write(bytes([first]) + length + data)
            self.wfile.flush()
            if first & 15 == 8: return

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET

server = Server((sys.argv[1], int(sys.argv[2])), Handler)
open('/tmp/listens-' + sys.argv[2], 'w').close()
server.serve_forever()
`;

let served: Served;
let key: string;
let otherKey: string;
let id: string;
let token: string;

/** Starts the server in a sandbox. Resolves once it listens. */
async function listen(sandbox: string, address: string, port: number): Promise<void> {
  const script = '(python3 -c "$0" "$1" "$2" >/tmp/out 2>&1 &); until [ -e /tmp/listens-$2 ]; do sleep 0.1; done';
  const { body } = await served.exec(key, sandbox, ['sh', '-c', script, SERVER, address, String(port)]);
  expect(body.exitCode).toBe(0);
}

async function tokenOf(sandbox: string, of = key): Promise<{ host: string; token: string }> {
  return (await served.call(of, 'GET', `/${sandbox}/ports`)).body as unknown as { host: string; token: string };
}

beforeAll(async () => {
  served = new Served(uml);
  [key, otherKey] = [await served.tenant('acme'), await served.tenant('other')];
  await served.start({}, 0, ['--domain', DOMAIN, '--template', `base=${PYTHON}`]);
  id = await served.create(key, { image: PYTHON, memory: MEMORY });
  await listen(id, '127.0.0.1', 8080);
  const told = await tokenOf(id);
  expect(told.host).toBe(`PORT-${id}.${DOMAIN}`);
  ({ token } = told);
});

afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

interface Ask {
  method?: string;
  path?: string;
  body?: Buffer;
  sandbox?: string;
  given?: string;
}

async function ask(port: number, { method = 'GET', path = '/', body, sandbox = id, given = token }: Ask = {}) {
  const Host = `${port}-${sandbox}.${DOMAIN}`;
  const length = body === undefined ? {} : { 'Content-Length': body.length };
  const headers = { Host, 'E2b-Traffic-Access-Token': given, ...length };
  const asked = request(served.url, { method, path, headers }).end(body);
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  return answer;
}

/** The number of processes in the sandbox, without those that count them. */
async function processes(): Promise<number> {
  return (await Container.find(served.home('acme'), id).processes()).length;
}

const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

test('requests reach the program, with their paths and bodies and without the token', async () => {
  const seen = JSON.parse(await text(await ask(8080, { path: '/v1/sandboxes?a=b' })));
  expect(seen).toMatchObject({ path: '/v1/sandboxes?a=b', headers: { Host: `8080-${id}.${DOMAIN}` } });
  expect(JSON.stringify(seen)).not.toContain(token);
  const bytes = randomBytes(8_000_000);
  expect(hash(await buffer(await ask(8080, { method: 'POST', body: bytes })))).toBe(hash(bytes));
  const curl = ['curl', '-sS', '--resolve', `8080-${id}.box.localhost:${new URL(served.url).port}:127.0.0.1`];
  const where = `http://8080-${id}.box.localhost:${new URL(served.url).port}/by-curl`;
  const { stdout } = await run(uml, [...curl, '-H', `X-Access-Token: ${token}`, where]);
  expect(JSON.parse(stdout)).toMatchObject({ path: '/by-curl' });
});

test('many at once are answered each with its own, and nothing of them is left', async () => {
  const before = await processes();
  for (let turn = 0; turn < 3; turn++) {
    const paths = Array.from({ length: 16 }, (_, n) => `/${turn}/${n}`);
    const answers = await Promise.all(paths.map(async (path) => JSON.parse(await text(await ask(8080, { path })))));
    expect(answers.map(({ path }) => path)).toEqual(paths);
  }
  while ((await processes()) > before) await sleep(50);
});

test('a program at ::1 alone is reached, and a port without one is a problem', async () => {
  await listen(id, '::1', 8081);
  expect(JSON.parse(await text(await ask(8081, { path: '/six' })))).toMatchObject({ path: '/six' });
  const none = await ask(9);
  expect([none.statusCode, JSON.parse(await text(none)).code]).toEqual([502, 'no-port']);
});

test("a wrong token, another tenant's and a sandbox that there is not are the same 404", async () => {
  const other = await served.create(otherKey, { image: PYTHON, memory: MEMORY });
  const of = await tokenOf(other, otherKey);
  const wrong: Ask[] = [
    ...[{ given: '' }, { given: key }, { given: of.token }, { sandbox: other }],
    ...[{ sandbox: 'sb-0000000000000000' }, { sandbox: other, given: otherKey }],
  ];
  const answers = await Promise.all(wrong.map(async (what) => text(await ask(8080, what))));
  expect(new Set(answers).size).toBe(1);
  expect(JSON.parse(answers[0] ?? '')).toMatchObject({ status: 404, code: 'not-found' });
  expect((await served.call(key, 'GET', `/${other}/ports`)).status).toBe(404);
  await served.call(otherKey, 'DELETE', `/${other}`);
});

test('a WebSocket carries messages of any size, and ends inside when its client goes away', async () => {
  const before = await processes();
  const headers = { Host: `8080-${id}.${DOMAIN}`, 'E2b-Traffic-Access-Token': token };
  const open = async () => {
    const socket = new WebSocket(served.url.replace('http', 'ws'), { headers, perMessageDeflate: false });
    await once(socket, 'open');
    return socket;
  };
  const socket = await open();
  for (const size of [0, 1, 126, 70_000, 3_000_000]) {
    const message = randomBytes(size);
    socket.send(message);
    expect(hash((await once(socket, 'message'))[0] as Buffer)).toBe(hash(message));
  }
  socket.close(4002, 'done');
  expect((await once(socket, 'close'))[0]).toBe(4002);
  const gone = await open();
  gone.terminate();
  while ((await processes()) > before) await sleep(50);
});

test.each(['a b', 'a..b', '-a', 'a:99999', 'http://a', ''])('%j is no domain', async (domain) => {
  const { code, stderr } = await run(uml, [TSVM, 'serve', '--data', served.data, '--domain', domain]);
  expect({ code, stderr }).toEqual({
    code: 125,
    stderr: expect.stringContaining('for --domain: expected NAME'),
  });
});

test("E2B's client is told the host and the token, and another server finds both again", async () => {
  const here = { apiKey: key, apiUrl: served.url, sandboxUrl: served.url, retries: 0 };
  const sandbox = await Sandbox.create({ ...here, allowInternetAccess: false });
  await listen(sandbox.sandboxId, '0.0.0.0', 3000);
  expect(sandbox.getHost(3000)).toBe(`3000-${sandbox.sandboxId}.${DOMAIN}`);
  const given = sandbox.trafficAccessToken ?? '';
  const get = async () => JSON.parse(await text(await ask(3000, { sandbox: sandbox.sandboxId, given, path: '/e2b' })));
  expect(await get()).toMatchObject({ path: '/e2b' });
  await served.end('SIGKILL');
  await served.start({}, 0, ['--domain', DOMAIN]);
  expect(await get()).toMatchObject({ path: '/e2b' });
  // An answer that goes on is cut off with its sandbox, and then there is none.
  const answer = await ask(3000, { sandbox: sandbox.sandboxId, given, path: '/forever' });
  await once(answer, 'data');
  const broken = expect(buffer(answer)).rejects.toThrow('aborted');
  await served.call(key, 'DELETE', `/${sandbox.sandboxId}`);
  await broken;
  expect((await ask(3000, { sandbox: sandbox.sandboxId, given })).statusCode).toBe(404);
});
