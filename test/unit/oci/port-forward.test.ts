// Proves that a forwarded connection carries both directions to their ends, and that a guest which
// does not answer, or does not end, holds up no client. The guest is this test.
import { once } from 'node:events';
import { mkdtempSync, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PortForward } from '../../../oci/keeper/port-forward.js';
import { defer } from '../../../sandbox/deferred.js';
import type { GuestProcess } from '../../../sandbox/run/guest-container.js';
import * as libc from '../../../vmm/host/libc.js';
import { SocketAddress } from '../../../vmm/outside/socket-address.js';

type Name = 'stdin' | 'stdout' | 'stderr';

let folder: string;
let port: number;
let forward: PortForward | undefined;
/** Tools that were started, with the guest's ends of their streams. */
let tools: Tool[];
/** What the next ones do. */
let act: (tool: Tool) => void;
const sockets: Socket[] = [];

/** A tool of the guest. Its streams are there once it is said so. */
class Tool {
  readonly signals: number[] = [];
  isForgotten = false;
  readonly #ends: Record<Name, Promise<{ host: Socket; guest: Socket }>>;
  readonly #isThere = defer<void>();
  readonly #exit = defer<{ code: number }>();

  constructor(readonly port: number) {
    this.#ends = { stdin: pair(), stdout: pair(), stderr: pair() };
  }

  async answer(): Promise<void> {
    await Promise.all(Object.values(this.#ends));
    this.#isThere.resolve();
  }

  async guest(name: Name): Promise<Socket> {
    return (await this.#ends[name]).guest;
  }

  exit(code: number): void {
    this.#exit.resolve({ code });
  }

  get process(): GuestProcess {
    return {
      stream: async (name: Name) => {
        await this.#isThere.promise;
        return (await this.#ends[name]).host;
      },
      started: async () => {
        await this.#isThere.promise;
        return 2;
      },
      exited: () => this.#exit.promise,
      signal: (signal: number) => this.signals.push(signal),
      forget: () => {
        this.isForgotten = true;
      },
    } as unknown as GuestProcess;
  }
}

async function pair(): Promise<{ host: Socket; guest: Socket }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const path = join(folder, String(Math.random()));
  server.listen(path);
  const accepted = once(server, 'connection');
  const guest = connect({ path, allowHalfOpen: true });
  const [host] = (await accepted) as [Socket];
  server.close();
  for (const each of [host, guest]) sockets.push(each.on('error', () => {}));
  return { host, guest };
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-forward-'));
  tools = [];
  act = (tool) => void tool.answer();
  const listener = libc.check(libc.socket(libc.AF_INET, libc.SOCK_STREAM | libc.SOCK_CLOEXEC, 0), 'socket');
  const address = new SocketAddress().any(libc.AF_INET, 0);
  libc.check(libc.bind(listener, address.bytes, address.length), 'bind');
  libc.check(libc.listen(listener, 128), 'listen');
  libc.check(libc.getsockname(listener, address.bytes, address.clear().size), 'getsockname');
  port = address.port;
  forward = new PortForward({ socket: listener, link: openSync('/dev/null', 'r') }, (asked) => {
    const tool = new Tool(asked);
    tools.push(tool);
    act(tool);
    return tool.process;
  });
});

afterEach(() => {
  vi.useRealTimers();
  forward?.[Symbol.dispose]();
  for (const socket of sockets.splice(0)) socket.destroy();
  rmSync(folder, { recursive: true });
});

function client(): Socket {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  sockets.push(socket);
  return socket;
}

/** Why a connection has ended: the code of its error, or `end`. */
function reason(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('error', ({ code = '' }: NodeJS.ErrnoException) => resolve(code));
    socket.once('end', () => resolve('end'));
    socket.resume();
  });
}

test('both directions go on to their ends, the one after the other', async () => {
  const socket = client();
  socket.end('asked');
  await expect.poll(() => tools.length).toBe(1);
  const [tool] = tools as [Tool];
  expect(tool.port).toBe(port);
  expect(await text(await tool.guest('stdin'))).toBe('asked');
  // The client has ended, and waits for the answer.
  const answer = Buffer.alloc(3_000_000, 'x').toString();
  const answered = text(socket);
  (await tool.guest('stdout')).end(answer);
  (await tool.guest('stderr')).end();
  tool.exit(0);
  expect(await answered).toBe(answer);
  await expect.poll(() => tool.isForgotten).toBe(true);
});

test('a port at which nothing listens is a connection that is reset', async () => {
  act = (tool) => {
    void tool.answer();
    tool.exit(1);
  };
  expect(await reason(client())).toBe('ECONNRESET');
  await expect.poll(() => tools.map(({ isForgotten }) => isForgotten)).toEqual([true]);
});

test('so is one for which no container runs', async () => {
  act = () => {
    throw new Error('container not running');
  };
  expect(await reason(client())).toBe('ECONNRESET');
});

test('and one whose guest does not answer in time', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  act = () => {};
  const ended = reason(client());
  await vi.waitUntil(() => tools.length === 1);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(await ended).toBe('ECONNRESET');
  await vi.waitUntil(() => tools[0]?.isForgotten);
  expect(tools[0]?.signals).toEqual([9]);
});

test('a client that has left ends the tool, whose own end is not waited for', async () => {
  const socket = client();
  socket.write('x');
  await expect.poll(() => tools.length).toBe(1);
  const [tool] = tools as [Tool];
  const [stdin, stdout] = [await tool.guest('stdin'), await tool.guest('stdout')];
  await once(stdin, 'readable');
  const gone = [stdin, stdout].map((stream) => once(stream.resume(), 'end'));
  socket.resetAndDestroy();
  await Promise.all(gone);
  expect([tool.signals, tool.isForgotten]).toEqual([[9], true]);
});

test('there are 64 at most, and room again once one ends', async () => {
  const many = Array.from({ length: 64 }, client);
  await expect.poll(() => tools.length).toBe(64);
  expect(await reason(client())).toMatch(/ECONNRESET|end/);
  expect(tools).toHaveLength(64);
  many[0]?.resetAndDestroy();
  await expect.poll(() => tools.filter(({ isForgotten }) => isForgotten).length).toBe(1);
  client();
  await expect.poll(() => tools.length).toBe(65);
});

test('the end of the machine is that of its connections', async () => {
  const socket = client();
  await expect.poll(() => tools.length).toBe(1);
  const ended = reason(socket);
  forward?.[Symbol.dispose]();
  forward = undefined;
  expect(await ended).toBe('ECONNRESET');
  expect(await reason(client())).toBe('ECONNREFUSED');
});
