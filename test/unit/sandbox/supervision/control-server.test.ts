// The control server releases the connections of clients that leave, and reads requests of earlier
// builds.
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { stopContainer } from '../../../../sandbox/containers/stop.js';
import { SandboxError } from '../../../../sandbox/errors.js';
import { ContainerFolder } from '../../../../sandbox/home/container-folder.js';
import { CREATED } from '../../../../sandbox/home/container-record.js';
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

test('the timeout of a stop is milliseconds for both ends, and seconds on the socket', async () => {
  const root = mkdtempSync('/tmp/tsvm-test-');
  const folder = new ContainerFolder(root, '0'.repeat(64));
  mkdirSync(folder.path);
  folder.writeState({ ...CREATED, sockets: root });
  const [stdout, stderr] = [new OutputFanOut('stdout', {}), new OutputFanOut('stderr', {})];
  const stopped: [signal: number, timeout: number][] = [];
  const stop = (signal: number, timeout: number) => {
    stopped.push([signal, timeout]);
    server.end({ type: 'exited', code: 0 });
  };
  const server = await ControlServer.listen(join(root, 'control'), { ...IDLE, stdout, stderr, stop });
  await stopContainer(folder, 2500, 15);
  const again = await ControlServer.listen(join(root, 'control'), {
    ...IDLE,
    stdout,
    stderr,
    stop: (signal, timeout) => {
      stopped.push([signal, timeout]);
      again.end({ type: 'exited', code: 0 });
    },
  });
  const socket = connect(join(root, 'control'));
  // As earlier builds ask.
  socket.write('{"type":"stop","signal":2,"timeout":10}\n');
  await once(socket.resume(), 'close');
  rmSync(root, { recursive: true });
  expect(stopped).toEqual([
    [15, 2500],
    [2, 10_000],
  ]);
});
