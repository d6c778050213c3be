// The control server releases the connections of clients that leave.
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { SandboxError } from '../../../../sandbox/errors.js';
import { ControlServer } from '../../../../sandbox/supervision/control-server.js';
import { OutputFanOut } from '../../../../sandbox/supervision/output-fan-out.js';

test('a client that leaves at any point leaves no descriptor behind', async () => {
  const folder = mkdtempSync('/tmp/tsvm-test-');
  const [stdout, stderr] = [new OutputFanOut('stdout', {}), new OutputFanOut('stderr', {})];
  const nothing = () => {};
  const actions = {
    stdin: undefined,
    run: () => undefined,
    running: () => {
      throw new SandboxError('not-running', 'not running');
    },
    signal: nothing,
    stop: nothing,
    pause: nothing,
  };
  const server = await ControlServer.listen(join(folder, 'control'), { terminal: false, stdout, stderr, ...actions });
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
    socket.on('error', nothing);
    socket.end(text);
    await Promise.race([once(socket.resume(), 'close'), sleep(1000)]);
    socket.destroy();
  }
  while (descriptors() > before) await sleep(10);
  server.close();
  rmSync(folder, { recursive: true });
  expect(descriptors()).toBeLessThan(before);
});
