// A tool's answer is bounded, and a guest that moves no byte ends the wait for it. The supervisor
// and the guest are this test.
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { encodeFrame } from '../../../../sandbox/agent/protocol.js';
import { askTool, runTool } from '../../../../sandbox/containers/tools.js';
import { ContainerFolder } from '../../../../sandbox/home/container-folder.js';
import { CREATED } from '../../../../sandbox/home/container-record.js';
import { portSocket } from '../../../../sandbox/home/socket-folder.js';

let root: string;
let folder: ContainerFolder;
let server: Server;
/** Called with each process that is started, and what the guest does with it. */
let act: (guest: { stream(name: 'stdin' | 'stdout' | 'stderr'): Promise<Socket>; exit(code: number): void }) => unknown;
const sockets: Socket[] = [];
const gone: Promise<unknown>[] = [];

beforeEach(async () => {
  root = mkdtempSync('/tmp/tsvm-test-');
  folder = new ContainerFolder(root, '0'.repeat(64));
  mkdirSync(folder.path);
  folder.writeState({ ...CREATED, sockets: root });
  server = createServer((control) => {
    sockets.push(control);
    gone.push(new Promise((resolve) => control.once('close', resolve)));
    control.on('error', () => {});
    control.once('data', (line) => {
      const { process } = JSON.parse(String(line));
      control.write(`${JSON.stringify({ type: 'started', pid: 2 })}\n`);
      const stream = async (name: 'stdin' | 'stdout' | 'stderr') => {
        const socket = connect({ path: portSocket(root, process.port), allowHalfOpen: true }).on('error', () => {});
        sockets.push(socket);
        socket.write(encodeFrame({ type: 'stream', process: process.id, stream: name }));
        await once(socket, 'connect');
        return socket;
      };
      act({ stream, exit: (code) => control.write(`${JSON.stringify({ type: 'exited', code })}\n`) });
    });
  });
  server.listen(join(root, 'control'));
  await once(server, 'listening');
});

afterEach(async () => {
  vi.useRealTimers();
  for (const socket of sockets.splice(0)) socket.destroy();
  server.close();
  rmSync(root, { recursive: true });
});

/** Lets the streams move, then the clock. */
async function pass(milliseconds: number): Promise<void> {
  for (let left = milliseconds; left > 0; left -= 3000) {
    await new Promise((resolve) => setImmediate(resolve));
    await vi.advanceTimersByTimeAsync(Math.min(left, 3000));
  }
}

test('an answer is returned whole', async () => {
  act = async ({ stream, exit }) => {
    (await stream('stdout')).end('a\0b\0');
    (await stream('stderr')).end();
    exit(0);
  };
  expect(String(await askTool({ folder }, 'list', '/'))).toBe('a\0b\0');
});

test('an answer without an end is cut off at the limit of the container, and its tool is left', async () => {
  act = async ({ stream }) => {
    const megabyte = Buffer.alloc(2 ** 20);
    const endless: Readable = new Readable({ read: () => endless.push(megabyte) });
    endless.pipe(await stream('stdout'));
  };
  const answers = await Promise.allSettled([1, 2, 3].map(() => askTool({ folder }, 'read', '/endless')));
  expect(answers.map((one) => one.status === 'rejected' && one.reason.code)).toContain('output');
  // What the failed ones held is free again.
  act = async ({ stream, exit }) => {
    (await stream('stdout')).end('ok');
    (await stream('stderr')).end();
    exit(0);
  };
  for (const socket of sockets.splice(0)) socket.destroy();
  expect(String(await askTool({ folder }, 'read', '/short'))).toBe('ok');
});

test('a guest that moves no byte for 30 s ends the wait, and the connection to the supervisor', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  act = async ({ stream }) => {
    await stream('stderr');
    (await stream('stdout')).write('some');
  };
  const tool = askTool({ folder }, 'list', '/');
  tool.catch(() => {});
  await pass(40_000);
  await expect(tool).rejects.toMatchObject({ code: 'unresponsive', message: /^the guest has moved no byte in 30 s/ });
  await gone.at(-1);
});

test('a long transfer that moves is not cut off, nor one that waits for the input of its caller', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
  const input = new Readable({ read() {} });
  act = async ({ stream, exit }) => {
    const [stdin, stdout, stderr] = await Promise.all([stream('stdin'), stream('stdout'), stream('stderr')]);
    stdin.on('data', () => stdout.write('.'));
    stdin.once('end', () => {
      stdout.end();
      stderr.end();
      exit(0);
    });
  };
  const tool = runTool(folder, ['extract', '/'], { stdin: input });
  await pass(200_000);
  for (let round = 0; round < 10; round++) {
    input.push('x');
    await pass(20_000);
  }
  input.push(null);
  vi.useRealTimers();
  await tool;
});

test('its signal ends it at once, whatever the guest does', async () => {
  act = () => {};
  const reason = new Error('enough');
  const caller = new AbortController();
  const tool = runTool(folder, ['watch', '/'], { waits: true, signal: caller.signal });
  await sleep(20);
  caller.abort(reason);
  await expect(tool).rejects.toBe(reason);
  await gone.at(-1);
});
