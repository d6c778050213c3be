// The client's side of a command's WebSocket, against a server that reads and writes messages as
// the service does.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { ClientError, RefusedError, ServiceClient } from '../../../../cli/commands/service/client.js';
import { RemoteExec } from '../../../../cli/commands/service/exec-stream.js';
import { execMessage, parseExec, parseExecMessage } from '../../../../service/http/exec-channels.js';

/** Output that a test reads when it likes. */
class Output extends Writable {
  readonly chunks: Buffer[] = [];
  /** Lets a chunk through. Undefined: all pass at once. */
  gate: Promise<void> | undefined;

  override async _write(chunk: Buffer, _encoding: string, done: () => void): Promise<void> {
    await this.gate;
    this.chunks.push(chunk);
    done();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

let server: Server;
let sockets: WebSocketServer;
let client: ServiceClient;
let stdout: Output;
let stderr: Output;
/** What the next client meets. */
let act: (socket: WebSocket) => void;

beforeEach(async () => {
  vi.stubEnv('TSVM_KEY', 'key');
  server = createServer((_request, answer) => {
    answer.writeHead(404, { 'Content-Type': 'application/problem+json' });
    answer.end(JSON.stringify({ detail: 'no such sandbox', code: 'not-found' }));
  });
  sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => offered.has('exec.v1.tsvm') && 'exec.v1.tsvm',
  });
  server.on('upgrade', (request, socket, head) => {
    if (request.url !== '/box/exec' || request.headers.authorization !== 'Bearer key') {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 35\r\n\r\n{"detail":"not yours","code":"own"}');
      return;
    }
    sockets.handleUpgrade(request, socket, head, (opened) => act(opened));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  client = new ServiceClient({ server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  [stdout, stderr] = [new Output(), new Output()];
});

afterEach(() => {
  vi.unstubAllEnvs();
  for (const socket of sockets.clients) socket.terminate();
  server.closeAllConnections();
  server.close();
});

const start = (stdin?: Readable, path = '/box') =>
  RemoteExec.start(client, path, { command: ['cat'], stdin: stdin !== undefined }, { stdin, stdout, stderr });
const status = (exitCode: number) => execMessage('status', JSON.stringify({ exitCode, timedOut: false }));

test('the command, its input and its end arrive, and what it says', async () => {
  const seen: unknown[] = [];
  act = (socket) => {
    socket.once('message', (first: Buffer) => {
      seen.push(parseExec(first.toString()).command);
      socket.on('message', (data: Buffer) => {
        const message = parseExecMessage(data);
        seen.push(message.name === 'stdin' ? message.data.length : message);
        if (message.name !== 'close') return;
        socket.send(execMessage('stdout', 'out'));
        socket.send(execMessage('stderr', 'err'));
        socket.send(status(7));
        socket.close(1000);
      });
    });
  };
  const running = await start(Readable.from([Buffer.alloc(65_537), Buffer.alloc(3)]));
  expect(await running.exit).toEqual({ exitCode: 7, timedOut: false });
  expect(seen).toEqual([['cat'], 65_536, 1, 3, { name: 'close' }]);
  expect([String(stdout.bytes), String(stderr.bytes)]).toEqual(['out', 'err']);
  expect(running.outputChunks).toBe(2);
});

test('signals and sizes are what the service takes', async () => {
  const seen: unknown[] = [];
  act = (socket) => {
    socket.once('message', () => {
      socket.on('message', (data: Buffer) => {
        if (seen.push(parseExecMessage(data)) === 2) socket.send(status(0));
      });
    });
  };
  const running = await start();
  running.signal(2);
  running.resize({ columns: 100, rows: 30 });
  await running.exit;
  expect(seen).toEqual([
    { name: 'signal', signal: 2 },
    { name: 'resize', size: { columns: 100, rows: 30 } },
  ]);
});

test('a reader that takes nothing holds the service up, and gets all', async () => {
  let open = () => {};
  stdout.gate = new Promise((resolve) => {
    open = resolve;
  });
  const whole = 64 * 2 ** 20;
  let server: WebSocket | undefined;
  act = (socket) => {
    server = socket;
    for (let sent = 0; sent < whole; sent += 65_536)
      socket.send(execMessage('stdout', Buffer.alloc(65_536, sent >> 16)));
    socket.send(status(0));
  };
  const running = await start();
  // What the kernel holds has left, and no more does.
  let waiting = -1;
  while (server === undefined || waiting !== server.bufferedAmount) {
    waiting = server?.bufferedAmount ?? -1;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(waiting).toBeGreaterThan(whole / 2);
  expect(stdout.writableLength).toBeLessThan(2 ** 20);
  open();
  expect(await running.exit).toMatchObject({ exitCode: 0 });
  await new Promise((resolve) => stdout.end(resolve));
  expect(stdout.bytes.length).toBe(whole);
  expect(stdout.chunks.every((chunk, n) => chunk[0] === n % 256)).toBe(true);
});

test('what is refused before and after the connection is told', async () => {
  const before = await start(undefined, '/none').catch((error: unknown) => error);
  expect(before).toBeInstanceOf(RefusedError);
  expect(before).toMatchObject({ message: 'not yours', status: 403, problem: 'own' });
  act = (socket) => socket.send(execMessage('status', JSON.stringify({ detail: 'no such program', status: 400 })));
  await expect((await start()).exit).rejects.toThrow('no such program');
});

test('a service that is not there, breaks off or talks nonsense is an error of its own', async () => {
  for (const message of [
    execMessage('status', 'nonsense'),
    execMessage('status', 'null'),
    execMessage('status', '{"exitCode":"0"}'),
    execMessage('stdout', Buffer.alloc(2 ** 20)),
  ]) {
    act = (socket) => socket.send(message);
    await expect((await start()).exit).rejects.toBeInstanceOf(ClientError);
  }
  act = (socket) => socket.terminate();
  await expect((await start()).exit).rejects.toThrow('the connection to the service broke off');
  const nowhere = new ServiceClient({ server: 'http://127.0.0.1:9' });
  const started = RemoteExec.start(nowhere, '/box', { command: ['cat'] }, { stdout, stderr });
  await expect(started).rejects.toThrow('cannot reach http://127.0.0.1:9: nothing listens there');
});

test('it ends with the error of whoever ends it', async () => {
  act = () => {};
  const running = await start();
  const left = expect(running.exit).rejects.toThrow('enough');
  running.abort(new Error('enough'));
  await left;
});
