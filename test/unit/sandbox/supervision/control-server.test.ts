// The control server releases the connections of clients that leave, and reads requests of earlier
// builds.
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { stopContainer } from '../../../../sandbox/containers/stop.js';
import { defer } from '../../../../sandbox/deferred.js';
import { SandboxError } from '../../../../sandbox/errors.js';
import { ContainerFolder } from '../../../../sandbox/home/container-folder.js';
import { CREATED } from '../../../../sandbox/home/container-record.js';
import type { ContainerRun } from '../../../../sandbox/run/container-run.js';
import { connectToControl } from '../../../../sandbox/supervision/control-client.js';
import { ControlServer } from '../../../../sandbox/supervision/control-server.js';
import { OutputFanOut } from '../../../../sandbox/supervision/output-fan-out.js';

/** A supervision without a run. */
const IDLE = {
  terminal: false,
  stdin: undefined,
  run: () => undefined,
  running: () => {
    throw new SandboxError('not-running', 'not running');
  },
  signal: () => {},
  stop: () => {},
  pause: () => {},
  suspend: async () => {},
  snapshot: async () => {},
  rollback: async () => {},
};

test('a client that leaves at any point leaves no descriptor behind', async () => {
  const folder = mkdtempSync('/tmp/tsvm-test-');
  const [stdout, stderr] = [new OutputFanOut('stdout', {}), new OutputFanOut('stderr', {})];
  const server = await ControlServer.listen(join(folder, 'control'), { ...IDLE, stdout, stderr });
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const said = [
    '',
    '{',
    'nonsense\n',
    '{"type":"wait"}\n',
    '{"type":"attach"}\n',
    '{"type":"stream","key":1,"name":"stdout"}\n',
  ];
  for (const text of [...said, ...said]) {
    const socket = connect(join(folder, 'control'));
    await once(socket, 'connect');
    socket.on('error', () => {});
    socket.end(text);
    await Promise.race([once(socket.resume(), 'close'), sleep(1000)]);
    socket.destroy();
  }
  while (descriptors() > before) await sleep(10);
  server.close();
  rmSync(folder, { recursive: true });
  expect(descriptors()).toBeLessThan(before);
});

test('a thousand connections that say nothing take no room from a request', async () => {
  const folder = mkdtempSync('/tmp/tsvm-test-');
  const [stdout, stderr] = [new OutputFanOut('stdout', {}), new OutputFanOut('stderr', {})];
  const server = await ControlServer.listen(join(folder, 'control'), { ...IDLE, stdout, stderr });
  const silent: Socket[] = [];
  for (let count = 0; count < 1000; count++) silent.push((await connectToControl(folder))!.resume());
  // All but 64 are closed, without a deadline that has to pass.
  while (silent.filter(({ readableEnded }) => readableEnded).length < 1000 - 64) await sleep(5);
  const asking = connect(join(folder, 'control'));
  asking.write('{"type":"statistics"}\n');
  const [answer] = await once(asking, 'data');
  expect(JSON.parse(answer)).toMatchObject({ type: 'failed', code: 'not-running' });
  for (const socket of [...silent, asking]) socket.destroy();
  server.close();
  rmSync(folder, { recursive: true });
});

test('a client waits for a server whose queue is full, which is no stopped container', async () => {
  const folder = mkdtempSync('/tmp/tsvm-test-');
  const server = createServer((socket) => socket.on('error', () => {}).end('here\n'));
  server.listen({ path: join(folder, 'control'), backlog: 1 });
  await once(server, 'listening');
  const clients = await Promise.all(Array.from({ length: 20 }, () => connectToControl(folder)));
  const said = await Promise.all(clients.map(async (client) => String((await once(client!, 'data'))[0])));
  expect(said).toEqual(Array.from({ length: 20 }, () => 'here\n'));
  for (const client of clients) client?.destroy();
  server.close();
  await once(server, 'close');
  expect(await connectToControl(folder)).toBeUndefined();
  rmSync(folder, { recursive: true });
});

test('a process whose caller left before its start is killed, and one whose caller left later goes on', async () => {
  const folder = mkdtempSync('/tmp/tsvm-test-');
  const [stdout, stderr] = [new OutputFanOut('stdout', {}), new OutputFanOut('stderr', {})];
  const start = defer<void>();
  const signals: number[] = [];
  const asked = defer<void>();
  const exec = async () => {
    asked.resolve();
    await start.promise;
    return { pid: 2, exited: new Promise<never>(() => {}), signal: (signal: number) => signals.push(signal) };
  };
  const running = () => ({ exec }) as unknown as ContainerRun;
  const server = await ControlServer.listen(join(folder, 'control'), { ...IDLE, running, stdout, stderr });
  const ask = async (process: object) => {
    const socket = connect(join(folder, 'control'));
    socket.write(`${JSON.stringify({ type: 'exec', process: { id: 1, argv: ['true'], ...process } })}\n`);
    await once(socket, 'connect');
    return socket;
  };
  // The listener, and the server's ends of connections.
  const open = () => readFileSync('/proc/net/unix', 'latin1').split(`${join(folder, 'control')}\n`).length - 1;
  const early = await ask({ port: 2 ** 20 });
  await asked.promise;
  expect(open()).toBe(2);
  early.destroy();
  while (open() > 1) await sleep(5);
  start.resolve();
  for (const process of [{ port: 2 ** 20 }, {}]) {
    const late = await ask(process);
    await once(late, 'data');
    late.destroy();
  }
  await sleep(20);
  expect(signals).toEqual([9]);
  server.close();
  rmSync(folder, { recursive: true });
});

test('a reader of an attachment that reads nothing holds the output, and takes no memory', async () => {
  const folder = mkdtempSync('/tmp/tsvm-test-');
  const output = new OutputFanOut('stdout', {});
  const listener = createServer((socket) => output.attach(socket.on('error', () => {}))).listen(join(folder, 'x'));
  const reader = connect(join(folder, 'x')).pause();
  const [stuck] = await once(listener, 'connection');
  const source = Readable.from(Array.from({ length: 1000 }, () => Buffer.alloc(2 ** 16)));
  source.pipe(output);
  await sleep(50);
  expect(stuck.writableLength + output.writableLength).toBeLessThanOrEqual(4 * 2 ** 16);
  expect(output.writableFinished).toBe(false);
  // Once it is gone, the output goes on.
  reader.destroy();
  await once(output, 'finish');
  listener.close();
  rmSync(folder, { recursive: true });
});

test('the timeout of a stop is milliseconds for both ends, and seconds on the socket', async () => {
  const root = mkdtempSync('/tmp/tsvm-test-');
  const folder = new ContainerFolder(root, '0'.repeat(64));
  mkdirSync(folder.path);
  folder.writeState({ ...CREATED, sockets: root });
  const [stdout, stderr] = [new OutputFanOut('stdout', {}), new OutputFanOut('stderr', {})];
  const stopped: [signal: number, timeout: number, keep: boolean | undefined][] = [];
  const stop = (signal: number, timeout: number, keep?: boolean) => {
    stopped.push([signal, timeout, keep]);
    server.end({ type: 'exited', code: 0 });
  };
  const server = await ControlServer.listen(join(root, 'control'), { ...IDLE, stdout, stderr, stop });
  await stopContainer(folder, { timeout: 2500, signal: 15, keep: true });
  const again = await ControlServer.listen(join(root, 'control'), {
    ...IDLE,
    stdout,
    stderr,
    stop: (signal, timeout, keep) => {
      stopped.push([signal, timeout, keep]);
      again.end({ type: 'exited', code: 0 });
    },
  });
  const socket = connect(join(root, 'control'));
  // As earlier builds ask.
  socket.write('{"type":"stop","signal":2,"timeout":10}\n');
  await once(socket.resume(), 'close');
  rmSync(root, { recursive: true });
  expect(stopped).toEqual([
    [15, 2500, true],
    [2, 10_000, undefined],
  ]);
});
