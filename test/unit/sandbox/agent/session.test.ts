// The session with the agent: processes, streams, and what a hostile guest may send.
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { passDescriptors } from '../../../../libc/pass-descriptors.js';
import {
  type AgentFrame,
  encodeFrame,
  type HelloFrame,
  type HostFrame,
  HostFrameDecoder,
  type ProcessRequest,
} from '../../../../sandbox/agent/protocol.js';
import { AgentSession } from '../../../../sandbox/agent/session.js';
import { descriptorOf } from '../../../../sandbox/machine/control-channel.js';
import { openFiles } from '../../../fixtures/open-files.js';

const HELLO: HelloFrame = { type: 'hello', protocol: 2, agent: 'test', kernel: '6.1' };
const START = { container: 1, id: 7, argv: ['cat'], stdin: true };

let folder: string;
let path: string;
let session: AgentSession;
const sockets: Socket[] = [];

beforeEach(async () => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  path = join(folder, 'vsock_1024');
  session = await AgentSession.listen(path);
});

afterEach(() => {
  session[Symbol.dispose]();
  for (const socket of sockets.splice(0)) socket.destroy();
  rmSync(folder, { recursive: true });
});

/** A connection of the guest that says `frames`. */
async function guest(...frames: (AgentFrame | Buffer)[]): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true });
  sockets.push(socket);
  socket.on('error', () => {});
  await once(socket, 'connect');
  for (const frame of frames) socket.write(Buffer.isBuffer(frame) ? frame : encodeFrame(frame));
  return socket;
}

/** A session whose agent was asked to start a process. */
async function started(): Promise<{ control: Socket; request: ProcessRequest; start: Promise<unknown> }> {
  const control = await guest(HELLO);
  await session.hello;
  const start = session.start(START);
  start.catch(() => {});
  const [bytes] = await once(control, 'data');
  const [request] = new HostFrameDecoder().push(bytes);
  return { control, request: request as ProcessRequest, start };
}

test('a process that starts after the deadline is killed', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const { control, request, start } = await started();
    await vi.advanceTimersByTimeAsync(30_000);
    await expect(start).rejects.toMatchObject({ code: 'unresponsive' });
    const said = once(control, 'data');
    control.write(encodeFrame({ type: 'started', request: request.request, process: 7, pid: 2 }));
    expect(new HostFrameDecoder().push((await said)[0])).toMatchObject([{ type: 'signal', process: 7, signal: 9 }]);
  } finally {
    vi.useRealTimers();
  }
});

test('signals and sizes for a guest that reads nothing take bounded memory', async () => {
  const { control } = await started();
  control.pause();
  const before = process.memoryUsage().heapUsed + process.memoryUsage().external;
  for (let count = 0; count < 500_000; count++) session.resize(7, 80, count % 60_000);
  expect(process.memoryUsage().heapUsed + process.memoryUsage().external - before).toBeLessThan(100 * 2 ** 20);
});

const refused = (socket: Socket) => Promise.race([once(socket.resume(), 'end'), once(socket, 'close')]);

describe('a process', () => {
  test('is started, streams, and exits', async () => {
    const { control, request, start } = await started();
    expect(request).toMatchObject({ type: 'process', container: 1, id: 7, argv: ['cat'] });
    control.write(encodeFrame({ type: 'started', request: request.request, process: 7, pid: 2 }));
    expect(await start).toMatchObject({ pid: 2 });

    const out = await guest({ type: 'stream', process: 7, stream: 'stdout' }, Buffer.from('early'));
    const stream = await session.stream(7, 'stdout');
    out.end(' late');
    expect((await stream.toArray()).join('')).toBe('early late');

    control.write(encodeFrame({ type: 'exited', process: 7, container: 1, code: 3 }));
    expect(await session.exited(7)).toMatchObject({ code: 3 });
  });

  test.each([
    ['not-found', 'not-found'],
    ['cannot-invoke', 'cannot-invoke'],
    ['no-such-user', 'bad-spec'],
    ['setup-failed', 'agent'],
  ] as const)('that fails with %s rejects with %s and the printable part of its message', async (kind, code) => {
    const { control, request, start } = await started();
    control.write(encodeFrame({ type: 'error', request: request.request, kind, message: 'no\x1b[2J\nway' }));
    await expect(start).rejects.toMatchObject({ name: 'SandboxError', code, message: 'no [2J way' });
  });

  test('gets signals and sizes', async () => {
    const { control } = await started();
    session.signal(7, 15);
    session.resize(7, 80, 24);
    const decoder = new HostFrameDecoder();
    const frames: unknown[] = [];
    while (frames.length < 2) frames.push(...decoder.push((await once(control, 'data'))[0]));
    expect(frames).toMatchObject([
      { type: 'signal', process: 7, signal: 15 },
      { type: 'resize', process: 7, columns: 80, rows: 24 },
    ]);
  });
});

describe('machine, container and process', () => {
  test('are asked for without waiting, and each is answered', async () => {
    const control = await guest(HELLO);
    await session.hello;
    const answers = Promise.all([
      session.setUp({ clock: 5 }),
      session.create({ id: 1, hostname: 'box', root: { device: '/dev/vda' } }),
      session.start(START),
    ]);
    const decoder = new HostFrameDecoder();
    const requests: HostFrame[] = [];
    while (requests.length < 3) requests.push(...decoder.push((await once(control, 'data'))[0]));
    expect(requests).toMatchObject([
      { type: 'machine', clock: 5 },
      { type: 'container', id: 1, hostname: 'box' },
      { type: 'process', container: 1, id: 7 },
    ]);
    const [machine, container, process] = requests.map(({ request }) => request);
    for (const request of [machine, container]) control.write(encodeFrame({ type: 'done', request: request ?? 0 }));
    control.write(encodeFrame({ type: 'started', request: process ?? 0, process: 7, pid: 2 }));
    expect((await answers)[2]).toMatchObject({ process: 7, pid: 2 });
  });

  test('fail with what failed first', async () => {
    const control = await guest(HELLO);
    await session.hello;
    const container = { id: 1, hostname: 'box', root: { device: '/dev/vda' } };
    const answers = Promise.all([session.setUp({}), session.create(container), session.start(START)]);
    for (const [request, message] of [
      [1, 'mount the shared folders'],
      [2, 'the machine is not set up'],
      [3, 'no container 1'],
    ] as const) {
      control.write(encodeFrame({ type: 'error', request, kind: 'setup-failed', message }));
    }
    await expect(answers).rejects.toMatchObject({ code: 'agent', message: 'mount the shared folders' });
  });

  test('that cannot be put into a frame are refused', async () => {
    await guest(HELLO);
    await session.hello;
    const container = { id: 1, hostname: 'x'.repeat(65), root: { device: '/dev/vda' } };
    await expect(session.create(container)).rejects.toMatchObject({ code: 'bad-spec' });
  });

  test('are not started by an answer that is none', async () => {
    const { control, request, start } = await started();
    control.write(encodeFrame({ type: 'done', request: request.request }));
    await expect(start).rejects.toMatchObject({ code: 'agent' });
  });
});

describe('refused, without harm to the session, is', () => {
  /** The session hears of its process's end. */
  const expectUnharmed = async (control: Socket) => {
    control.write(encodeFrame({ type: 'exited', process: 7, container: 1, code: 0 }));
    expect(await session.exited(7)).toMatchObject({ code: 0 });
  };

  test.each<[string, (AgentFrame | Buffer)[]]>([
    ['a second hello', [HELLO]],
    ['a stream of an unknown process', [{ type: 'stream', process: 8, stream: 'stdout' }]],
    ['a stream that was not asked for', [{ type: 'stream', process: 7, stream: 'terminal' }]],
    ['a first frame that is neither hello nor stream', [{ type: 'exited', process: 7, container: 1, code: 0 }]],
    ['a frame larger than any', [Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0])]],
    ['what is no frame', [Buffer.alloc(64, 0xee)]],
  ])('%s', async (_, frames) => {
    const { control } = await started();
    await refused(await guest(...frames));
    await expectUnharmed(control);
  });

  test('a second connection for the same stream', async () => {
    const { control } = await started();
    await guest({ type: 'stream', process: 7, stream: 'stdout' });
    await session.stream(7, 'stdout');
    await refused(await guest({ type: 'stream', process: 7, stream: 'stdout' }));
    await expectUnharmed(control);
  });

  test('a connection that ends before it said what it is', async () => {
    const socket = await guest(Buffer.from([1, 0]));
    socket.end();
    await refused(socket);
    await expectUnharmed((await started()).control);
  });

  test('a flood of connections', async () => {
    const { control } = await started();
    const flood = await Promise.all(Array.from({ length: 100 }, () => guest()));
    // The oldest go at once: no deadline has to pass.
    await Promise.all(flood.slice(0, -32).map(refused));
    expect(flood.slice(-32).some((socket) => socket.destroyed)).toBe(false);
    await expectUnharmed(control);
  });

  test('a stream before hello', async () => {
    await refused(await guest({ type: 'stream', process: 7, stream: 'stdout' }));
    await expectUnharmed((await started()).control);
  });
});

describe('on the control connection', () => {
  test('answers that nobody waits for, and second ones, change nothing', async () => {
    const { control, request, start } = await started();
    const [{ request: number }, other] = [request, (request.request % 0xffff) + 1];
    const said: AgentFrame[] = [
      { type: 'done', request: 0 },
      { type: 'done', request: other },
      { type: 'started', request: other, process: 7, pid: 3 },
      { type: 'error', request: other, kind: 'not-found', message: 'none' },
      { type: 'running', process: 7, container: 1, pid: 9 },
      { type: 'exited', process: 8, container: 1, code: 0 },
      { type: 'started', request: number, process: 7, pid: 2 },
      { type: 'error', request: number, kind: 'not-found', message: 'after all' },
      { type: 'started', request: number, process: 7, pid: 4 },
      { type: 'exited', process: 7, container: 1, code: 3 },
      { type: 'exited', process: 7, container: 1, code: 4 },
    ];
    control.write(Buffer.concat(said.map(encodeFrame)));
    expect(await start).toMatchObject({ pid: 2 });
    expect(await session.exited(7)).toMatchObject({ code: 3 });
    expect(await session.running).toEqual([]);
  });

  test('any frames in any order leave a session that answers, or is lost with one error', async () => {
    const small = fc.integer({ min: 0, max: 9 });
    const id = fc.integer({ min: 1, max: 9 });
    const frame: fc.Arbitrary<AgentFrame> = fc.oneof(
      fc.record({ type: fc.constant('done' as const), request: small }),
      fc.record({ type: fc.constant('pong' as const), request: small }),
      fc.record({ type: fc.constant('started' as const), request: small, process: id, pid: id }),
      fc.record({
        type: fc.constant('error' as const),
        request: small,
        kind: fc.constantFrom('not-found' as const, 'setup-failed' as const),
        message: fc.constant('no'),
      }),
      fc.record({ type: fc.constant('running' as const), process: id, container: id, pid: id }),
      fc.record({ type: fc.constant('exited' as const), process: id, container: id, code: small }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 20 }), async (frames) => {
        session[Symbol.dispose]();
        path = join(folder, `vsock_${sockets.length}`);
        session = await AgentSession.listen(path);
        const { control, start } = await started();
        control.write(Buffer.concat(frames.map(encodeFrame)));
        const next = Promise.race([start, session.lost]).then(
          () => 'started',
          ({ code }) => code,
        );
        // The start, whatever the guest has made of it, and an end that may be the second one.
        for (let request = 0; request < 10; request++) control.write(encodeFrame({ type: 'done', request }));
        control.write(encodeFrame({ type: 'exited', process: 7, container: 1, code: 0 }));
        expect(['started', 'not-found', 'agent']).toContain(await next);
      }),
      { numRuns: 50 },
    );
  });

  test('files that come with frames are closed', async () => {
    const { control } = await started();
    const files = Array.from({ length: 100 }, () => openSync('/dev/zero', 'r'));
    try {
      const bytes = encodeFrame({ type: 'running', process: 9, container: 1, pid: 9 });
      for (let count = 0; count < 50; count++) {
        passDescriptors(descriptorOf(control), files, bytes);
        await new Promise(setImmediate);
      }
      control.write(encodeFrame({ type: 'exited', process: 7, container: 1, code: 0 }));
      await session.exited(7);
      expect(openFiles('/dev/zero')).toHaveLength(files.length);
    } finally {
      for (const fd of files) closeSync(fd);
    }
  });
});

describe('the session is lost, with one clear error, by', () => {
  test.each<[string, (AgentFrame | Buffer)[], string]>([
    ['another version of the protocol', [{ ...HELLO, protocol: 1 }], 'protocol version 1, not 2'],
    ['a second hello on the control connection', [HELLO, HELLO], "sent a 'hello' frame"],
    ['a stream frame on the control connection', [HELLO, { type: 'stream', process: 7, stream: 'stdout' }], 'sent a'],
    ['bytes that are no frame', [HELLO, Buffer.alloc(64, 0xee)], 'cannot be understood'],
    ['a frame larger than any', [HELLO, Buffer.from([0, 0, 1, 1, 4, 0, 0, 0])], 'cannot be understood'],
  ])('%s', async (_, frames, message) => {
    await guest(...frames);
    await expect(session.lost).rejects.toMatchObject({ code: 'agent', message: expect.stringContaining(message) });
  });

  test('the end of the control connection', async () => {
    const control = await guest(HELLO);
    control.end();
    await expect(session.lost).rejects.toThrow('closed the control connection');
  });
});

test('any bytes on any number of connections leave a session that still answers', async () => {
  const { control } = await started();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 100 }), { maxLength: 5 }),
      async (connections) => {
        for (const bytes of connections) {
          const socket = await guest(Buffer.from(bytes));
          socket.end();
          await refused(socket);
        }
      },
    ),
    { numRuns: 50 },
  );
  control.write(encodeFrame({ type: 'exited', process: 7, container: 1, code: 0 }));
  expect(await session.exited(7)).toMatchObject({ code: 0 });
});

describe('a restored machine', () => {
  const restored = (processes: number) => guest({ ...HELLO, frozen: true, processes });
  const running = (process: number): AgentFrame => ({ type: 'running', process, container: 1, pid: 100 + process });

  test('lists what runs; the streams and the exit of an adopted process arrive', async () => {
    const control = await restored(2);
    control.write(Buffer.concat([encodeFrame(running(7)), encodeFrame(running(8))]));
    expect(await session.running).toEqual([running(7), running(8)]);
    session.adopt({ id: 7 });
    await guest({ type: 'stream', process: 7, stream: 'stdout' }, Buffer.from('still here'));
    expect((await session.stream(7, 'stdout')).read().toString()).toBe('still here');
    control.write(encodeFrame({ type: 'exited', process: 7, container: 1, code: 3 }));
    expect(await session.exited(7)).toMatchObject({ code: 3 });
  });

  test('may list no more than it has announced', async () => {
    const control = await restored(1);
    for (let process = 1; process < 1000; process++) control.write(encodeFrame(running(process)));
    expect(await session.running).toEqual([running(1)]);
  });

  test('without processes lists none', async () => {
    await restored(0);
    expect(await session.running).toEqual([]);
  });
});

test('a machine that freezes after the deadline is thawed', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const control = await guest(HELLO);
    await session.hello;
    const frozen = session.freeze();
    frozen.catch(() => {});
    const [request] = new HostFrameDecoder().push((await once(control, 'data'))[0]);
    await vi.advanceTimersByTimeAsync(60_000);
    await expect(frozen).rejects.toMatchObject({ code: 'unresponsive' });
    const said = once(control, 'data');
    control.write(encodeFrame({ type: 'done', request: (request as HostFrame).request }));
    expect(new HostFrameDecoder().push((await said)[0])).toMatchObject([{ type: 'thaw' }]);
  } finally {
    vi.useRealTimers();
  }
});
