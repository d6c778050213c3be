// Commands whose streams are a WebSocket, of tsvm serve with real machines and the client `ws`: each
// stream arrives whole and apart, whoever ends first ends the other, and nobody gets another's.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Container } from '../../sandbox/containers/container.js';
import { Home } from '../../sandbox/home/home.js';
import { CHANNELS, EXEC_PROTOCOL } from '../../service/http/exec-channels.js';
import { send } from '../fixtures/service.js';
import { DEBIAN, type RunningCommand, readUntil, run, TSVM, uml } from './machine.js';
import { linkStores } from './own-home.js';

const data = mkdtempSync('/var/tmp/tsvm-streams-');
let server: RunningCommand;
let url: string;
let key: string;
let otherKey: string;
let id: string;

async function addTenant(name: string): Promise<string> {
  const { stdout } = await run(uml, [TSVM, 'tenant', 'add', '--data', data, '--cpus', '8', name]);
  linkStores(`${data}/tenants/${name}`);
  return stdout.trim();
}

const call = (method: string, path: string, body?: unknown, of = key) =>
  send(`${url}/v1/sandboxes${path}`, { method, key: of, body });

beforeAll(async () => {
  [key, otherKey] = [await addTenant('acme'), await addTenant('other')];
  const words = ['--data', data, '--listen', '127.0.0.1:0', '--cpus', '64'];
  server = uml.spawn([TSVM, 'serve', ...words], { env: { TSVM_HOME: `${data}/none` } });
  url = (await readUntil(server.stdout, '\n')).replace('listening on ', '').trim();
  const { body } = await call('POST', '', { image: DEBIAN, memory: 128 * 2 ** 20 });
  ({ id } = body as { id: string });
});

afterAll(async () => {
  await call('DELETE', `/${id}`);
  server.kill('SIGTERM');
  expect(await server.exit).toBe(0);
  for (const tenant of ['acme', 'other']) {
    const home = new Home(`${data}/tenants/${tenant}`);
    for (const { config } of Container.list(home)) await Container.find(home, config.id).remove({ force: true });
  }
  rmSync(data, { recursive: true });
});

interface Result {
  stdout: string;
  stderr: string;
  status: { exitCode?: number; timedOut?: boolean; code?: string; detail?: string } | undefined;
  closed: number;
}

/** A command and what it has said. */
class Streamed implements Disposable {
  readonly socket: WebSocket;
  readonly opened: Promise<unknown>;
  readonly #said = { 1: '', 2: '' } as Record<number, string>;
  #status: Result['status'];
  readonly result: Promise<Result>;
  #wake = () => {};

  constructor(spec: object | undefined, { of = key, sandbox = id }: { of?: string; sandbox?: string } = {}) {
    const headers = { Authorization: `Bearer ${of}` };
    this.socket = new WebSocket(`${url.replace('http', 'ws')}/v1/sandboxes/${sandbox}/exec`, EXEC_PROTOCOL, {
      headers,
    });
    this.opened = once(this.socket, 'open');
    this.opened.then(
      () => spec !== undefined && this.socket.send(JSON.stringify(spec)),
      () => {},
    );
    this.socket.on('message', (message: Buffer) => {
      const [channel = 0] = message;
      if (channel === CHANNELS.status) this.#status = JSON.parse(message.subarray(1).toString());
      else this.#said[channel] += message.subarray(1).toString('latin1');
      this.#wake();
    });
    this.result = new Promise((resolve, reject) => {
      this.socket.on('error', reject);
      this.socket.on('close', (closed) => {
        const { 1: stdout = '', 2: stderr = '' } = this.#said;
        resolve({ stdout, stderr, status: this.#status, closed });
        this.#wake();
      });
    });
    this.result.catch(() => {});
  }

  send(channel: keyof typeof CHANNELS, bytes: Buffer | string | object): void {
    const data = Buffer.isBuffer(bytes) || typeof bytes === 'string' ? bytes : JSON.stringify(bytes);
    this.socket.send(Buffer.concat([Buffer.of(CHANNELS[channel]), Buffer.from(data as Buffer)]));
  }

  hasSaid(text: string): boolean {
    return this.#said[CHANNELS.stdout]?.includes(text) === true;
  }

  /** Resolves once the command has said it. */
  async says(text: string): Promise<void> {
    while (!this.hasSaid(text)) {
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error(`closed: ${JSON.stringify(await this.result)}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  [Symbol.dispose](): void {
    this.socket.terminate();
  }
}

/** The processes of the sandbox whose command line has this word. */
async function running(word: string): Promise<number> {
  const script = `grep -lz -- "^$0\\$" /proc/[0-9]*/cmdline 2>/dev/null | grep -v "/$$/" | wc -l`;
  const { body } = await call('POST', `/${id}/exec`, { command: ['sh', '-c', script, word] });
  return Number((body as { stdout: string }).stdout);
}

test('output of both kinds arrives apart, and the exit code closes the socket', async () => {
  using command = new Streamed({
    ...{ command: ['sh', '-c', 'echo "$NAME"; pwd; id -u; echo no >&2; exit 3'] },
    ...{ env: { NAME: 'it' }, cwd: '/usr', user: '1000' },
  });
  const status = { exitCode: 3, timedOut: false };
  expect(await command.result).toEqual({ stdout: 'it\n/usr\n1000\n', stderr: 'no\n', status, closed: 1000 });
  expect(command.socket.protocol).toBe(EXEC_PROTOCOL);
});

test('input comes bit by bit, and its end is one for the program', async () => {
  using command = new Streamed({ command: ['cat'], stdin: true });
  await command.opened;
  command.send('stdin', 'one');
  await command.says('one');
  command.send('stdin', 'two');
  await command.says('onetwo');
  command.send('close', Buffer.of(CHANNELS.stdin));
  expect(await command.result).toMatchObject({ stdout: 'onetwo', status: { exitCode: 0 }, closed: 1000 });
});

test('megabytes pass both ways whole, more than the server holds', async () => {
  using command = new Streamed({ command: ['sha256sum'], stdin: true });
  await command.opened;
  const part = Buffer.alloc(2 ** 20 - 1, 'x');
  for (let n = 0; n < 16; n++) command.send('stdin', part);
  command.send('close', Buffer.of(CHANNELS.stdin));
  const hash = createHash('sha256');
  for (let n = 0; n < 16; n++) hash.update(part);
  expect((await command.result).stdout).toBe(`${hash.digest('hex')}  -\n`);
  using flood = new Streamed({ command: ['head', '-c', String(16 * 2 ** 20), '/dev/zero'] });
  expect((await flood.result).stdout.length).toBe(16 * 2 ** 20);
});

test('a terminal has its size, changes it, and passes keys', async () => {
  const terminal = { columns: 91, rows: 17 };
  const script = 'stty size; while read -r line; do stty size; echo "<$line>"; done; exit 4';
  using command = new Streamed({ command: ['bash', '-c', script], terminal, stdin: true });
  await command.says('17 91');
  command.send('resize', { Width: 120, Height: 40 });
  // Sizes and keys go different ways.
  for (let n = 0; !command.hasSaid('40 120'); n++) {
    command.send('stdin', `${n}\n`);
    await command.says(`<${n}>`);
  }
  command.send('stdin', '\x04');
  expect(await command.result).toMatchObject({ status: { exitCode: 4 }, stderr: '', closed: 1000 });
});

test('signals reach the command', async () => {
  using command = new Streamed({
    command: ['sh', '-c', 'trap "echo got; exit 7" USR1; echo up; while :; do sleep 0.1; done'],
  });
  await command.says('up');
  command.send('signal', { signal: 'SIGUSR1' });
  expect(await command.result).toMatchObject({ stdout: 'up\ngot\n', status: { exitCode: 7 } });
  using other = new Streamed({ command: ['sh', '-c', 'echo up; exec sleep 1000'] });
  await other.says('up');
  other.send('signal', { signal: 15 });
  expect(await other.result).toMatchObject({ status: { exitCode: 143, timedOut: false }, closed: 1000 });
});

test('a command is killed for its timeout, which counts from its begin: no start is that fast', async () => {
  using command = new Streamed({ command: ['sleep', '1001'], timeout: 1 });
  expect(await command.result).toMatchObject({ status: { exitCode: 137, timedOut: true }, closed: 1000 });
  const { status, body } = await call('POST', `/${id}/exec`, { command: ['sleep', '1001'], timeout: 1 });
  expect([status, body]).toMatchObject([200, { exitCode: 137, timedOut: true }]);
});

test('a command whose caller goes away is killed, however it goes', async () => {
  for (const leave of ['close', 'terminate'] as const) {
    using command = new Streamed({ command: ['sh', '-c', 'echo up; exec sleep 1002'] });
    await command.says('up');
    while ((await running('sleep')) !== 1) await sleep(50);
    command.socket[leave]();
    await command.result;
    while ((await running('sleep')) > 0) await sleep(50);
  }
});

test('a reader that takes nothing stops its own command alone', async () => {
  using idle = new Streamed({ command: ['sh', '-c', 'echo up; exec yes'] });
  await idle.says('up');
  idle.socket.pause();
  using command = new Streamed({ command: ['echo', 'on'] });
  expect(await command.result).toMatchObject({ stdout: 'on\n', status: { exitCode: 0 } });
});

test.each([
  ['no text', Buffer.from('{"command":["true"]}'), 'bad-request'],
  ['no JSON', '{', 'bad-request'],
  ['no command', '{}', 'bad-request'],
  ['a program that there is not', '{"command":["/no/such"]}', 'no-command'],
  ['a user that there is not', '{"command":["true"],"user":"nobody-of-this-name"}', 'bad-request'],
])('%s is refused with a problem', async (_, first, code) => {
  using command = new Streamed(undefined);
  await command.opened;
  command.socket.send(first);
  const { status, closed } = await command.result;
  expect({ closed, code: status?.code }).toEqual({ closed: 1008, code });
});

test('a message that is none ends the command', async () => {
  using command = new Streamed({ command: ['sh', '-c', 'echo up; exec sleep 1003'] });
  await command.says('up');
  command.send('stdin', 'there is no input');
  expect(await command.result).toMatchObject({ status: { code: 'bad-request' }, closed: 1008 });
  while ((await running('sleep')) > 0) await sleep(50);
});

test('a message that is too large closes the socket', async () => {
  using command = new Streamed({ command: ['cat'], stdin: true });
  await command.opened;
  command.send('stdin', Buffer.alloc(2 ** 20));
  expect(await command.result).toMatchObject({ closed: 1009 });
});

/** The answer to a request for a WebSocket. */
async function refused(headers: Record<string, string>, path = `/v1/sandboxes/${id}/exec`): Promise<[number, unknown]> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}${path}`, { headers });
  socket.on('error', () => {});
  const [, answer] = await once(socket, 'unexpected-response');
  const parts: Buffer[] = [];
  for await (const part of answer) parts.push(part);
  return [answer.statusCode, JSON.parse(Buffer.concat(parts).toString()).code];
}

test('a socket is for those with a key, in the header alone, and of their own sandboxes', async () => {
  const of = (key: string) => ({ Authorization: `Bearer ${key}` });
  expect(await refused({})).toEqual([401, 'unauthorized']);
  expect(await refused({}, `/v1/sandboxes/${id}/exec?key=${key}&access_token=${key}`)).toEqual([401, 'unauthorized']);
  expect(await refused(of(`${key}x`))).toEqual([401, 'unauthorized']);
  expect(await refused(of(otherKey))).toEqual([404, 'not-found']);
  expect(await refused(of(key), '/v1/sandboxes/sb-0000000000000000/exec')).toEqual([404, 'not-found']);
  expect(await refused(of(key), '/v1/nothing')).toEqual([404, 'not-found']);
  expect(await call('GET', `/${id}/exec`)).toMatchObject({ status: 400, body: { code: 'bad-request' } });
  const log = readFileSync(`${data}/audit.log`, 'utf8');
  expect(log).toContain('"status":101');
  expect(log).not.toContain(key);
});

test('a tenant has 32 at one time, and another tenant is not hindered', async () => {
  const commands: Streamed[] = [];
  try {
    for (let n = 0; n < 32; n++) {
      const command = new Streamed({ command: ['sh', '-c', 'echo up; exec sleep 1004'] });
      commands.push(command);
      await command.says('up');
    }
    using late = new Streamed({ command: ['true'] });
    expect(await late.result).toMatchObject({ status: { code: 'quota' }, closed: 1008 });
    const { status } = await call('GET', '', undefined, otherKey);
    expect(status).toBe(200);
  } finally {
    for (const command of commands) command[Symbol.dispose]();
  }
  for (;;) {
    using next = new Streamed({ command: ['true'] });
    if ((await next.result).status?.exitCode === 0) break;
    await sleep(50);
  }
});

test('what asks for another protocol is answered as if it did not', async () => {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const body = JSON.stringify({ command: ['echo', 'yes'] });
  socket.write(
    `POST /v1/sandboxes/${id}/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nUpgrade: h2c\r\n` +
      `Connection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAMAAABk\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
  );
  let said = '';
  for await (const part of socket) said += part;
  expect(said).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(said).toContain('"stdout":"yes\\n"');
});
