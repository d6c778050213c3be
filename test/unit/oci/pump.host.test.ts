// The process that engines see as a container's relays its streams, and a guest takes nothing else of
// it: neither descriptors, nor its time for signals.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';

const command = fileURLToPath(new URL('../../../oci/command', import.meta.url));
const owner = fileURLToPath(new URL('pump-owner.c', import.meta.url));
const [STDIN, STDOUT, STDERR] = [0, 1, 2];

let folder: string;
let count = 0;

beforeAll(() => {
  folder = mkdtempSync('/tmp/tsvm-pump-');
  const sources = ['pump.c', 'keeper.c', 'state.c', 'report.c', 'request.c'].map((name) => join(command, name));
  execFileSync('cc', ['-D_GNU_SOURCE', '-I', command, '-o', join(folder, 'pump'), owner, ...sources]);
});
afterAll(() => rmSync(folder, { recursive: true }));

let socket: string;
let pump: ChildProcess;
let keeper: Socket;
let ended: Promise<unknown[]>;

beforeEach(async () => {
  socket = join(folder, `streams-${count++}`);
  pump = spawn(join(folder, 'pump'), [socket, 'pipes'], { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
  ended = once(pump, 'close');
  const control: unknown = pump.stdio[3];
  if (!(control instanceof Socket)) throw new TypeError('no socket');
  keeper = control;
  const pid = pump.pid ?? 0;
  onTestFinished(() => {
    if (pump.exitCode === null && pump.signalCode === null) process.kill(pid, 'SIGKILL');
  });
  expect(`${(await once(keeper, 'data'))[0]}`).toBe('listening\n');
});

/** A frame of the agent that begins a stream (guest-agent/PROTOCOL.md). */
function frame(stream: number): Buffer {
  const bytes = Buffer.alloc(8 + 6 + 8);
  bytes.writeUInt32LE(14, 0);
  bytes.writeUInt16LE(0x85, 4);
  bytes.writeUInt16LE(2, 8);
  bytes.writeUInt32LE(8, 10);
  bytes.writeUInt8(stream, 14);
  return bytes;
}

/** Resolves to the connection, or to undefined if nothing listens. */
function dial(): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const made: Socket = connect(socket, () => resolve(made));
    made.on('error', () => resolve(undefined));
  });
}

async function open(stream: number): Promise<Socket> {
  const made = await dial();
  made?.write(frame(stream));
  if (made === undefined) throw new Error('nothing listens');
  return made;
}

const openFiles = () => readdirSync(`/proc/${pump.pid}/fd`).length;

/** Ends the container, and resolves to what was written to standard output. */
async function end(): Promise<string> {
  let said = '';
  pump.stdout?.on('data', (chunk) => {
    said += chunk;
  });
  keeper.write('exit 7\n');
  expect(await ended).toEqual([7, null]);
  return said;
}

test('relays three streams, and listens for no more', async () => {
  const [stdin, stdout, stderr] = [await open(STDIN), await open(STDOUT), await open(STDERR)];
  pump.stdin?.end('typed');
  expect(`${(await once(stdin, 'data'))[0]}`).toBe('typed');
  stdout.end('written');
  stderr.end();
  await expect.poll(dial).toBeUndefined();
  expect(await end()).toBe('written');
});

test('a signal reaches the keeper while a connection says nothing', async () => {
  const stdin = await open(STDIN);
  pump.stdin?.write('typed');
  await once(stdin, 'data');
  const files = openFiles();
  await dial();
  await expect.poll(openFiles).toBe(files + 1);
  pump.kill('SIGTERM');
  expect(`${(await once(keeper, 'data'))[0]}`).toBe('signal 15\n');
  keeper.end();
  await ended;
});

describe('a guest that connects again and again', () => {
  test.each([
    ['as a stream that there is', frame(STDOUT)],
    ['as no stream', frame(200)],
    ['with what is no frame', Buffer.alloc(100, 'x')],
    ['with a frame that is too long', Buffer.from('ffffffff8500000000', 'hex')],
    ['with a frame without a stream', Buffer.from('0000000085000000', 'hex')],
  ])('%s leaves one stream, and nothing open', async (_, said) => {
    const files = openFiles();
    const stdout = await open(STDOUT);
    for (let attempt = 0; attempt < 500; attempt++) {
      const made = await dial();
      if (made === undefined) break;
      made.end(said);
    }
    await expect.poll(dial).toBeUndefined();
    // The stream, and that of the signals.
    expect(openFiles()).toBeLessThanOrEqual(files + 2);
    stdout.end('all');
    expect(await end()).toBe('all');
  });
});
