// The real agent makes real containers: on this machine's kernel, in namespaces of its own, driven by the host's codec.
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ProcessSpec, StartRequest } from '../../../sandbox/agent-protocol.js';
import { AgentUnderTest, buildAgent } from './agent-under-test.js';
import { type ContainerImage, makeContainerImage } from './container-image.js';

let directory: string;
let agent: string;
let image: ContainerImage;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'agent-build-'));
  agent = buildAgent(directory);
  image = makeContainerImage();
});

afterAll(() => {
  image[Symbol.dispose]();
  rmSync(directory, { recursive: true, force: true });
});

function startRequest(process: Partial<ProcessSpec>, more: Partial<StartRequest> = {}): StartRequest {
  return {
    type: 'start',
    request: 1,
    hostname: 'box',
    root: { device: image.device },
    hosts: '127.0.0.1\tlocalhost\n',
    resolvConf: 'nameserver 192.0.2.53\n',
    process: { id: 1, argv: ['true'], ...process },
    ...more,
  };
}

async function boot(request?: StartRequest): Promise<AgentUnderTest> {
  const session = new AgentUnderTest();
  await session.boot(agent);
  if (request) session.send(request);
  return session;
}

/** Runs one process to its end. */
async function run(process: Partial<ProcessSpec>, more: Partial<StartRequest> = {}) {
  await using session = await boot(startRequest(process, more));
  const [stdout, stderr, exited] = await Promise.all([
    session.output(1, 'stdout'),
    session.output(1, 'stderr'),
    session.exited(1),
  ]);
  return { stdout, stderr, exited };
}

async function shell(script: string, process: Partial<ProcessSpec> = {}, more: Partial<StartRequest> = {}) {
  const { stdout, stderr } = await run({ argv: ['sh', '-c', script], ...process }, more);
  expect(stderr).toBe('');
  return stdout;
}

describe('a process', () => {
  test('says hello, started, exited, with output on streams of its own', async () => {
    await using session = await boot(startRequest({ argv: ['sh', '-c', 'echo out; echo err >&2; exit 3'] }));
    expect(await session.output(1, 'stdout')).toBe('out\n');
    expect(await session.output(1, 'stderr')).toBe('err\n');
    expect(await session.exited(1)).toEqual({ type: 'exited', process: 1, code: 3 });
    expect(session.frames.map((frame) => frame.type)).toEqual(['hello', 'started', 'exited']);
  });

  test('gives back binary stdin unharmed, whatever its size', async () => {
    const bytes = randomBytes(5_000_000);
    await using session = await boot(startRequest({ argv: ['sha256sum'], stdin: true }));
    const stdin = await session.stream(1, 'stdin');
    stdin.end(bytes);
    expect(await session.output(1, 'stdout')).toBe(`${createHash('sha256').update(bytes).digest('hex')}  -\n`);
  });

  test('that closes its stdin early stops the host from writing', async () => {
    await using session = await boot(startRequest({ argv: ['sh', '-c', 'exec <&-; sleep 1000'], stdin: true }));
    const stdin = await session.stream(1, 'stdin');
    stdin.resume();
    await new Promise((resolve) => stdin.once('close', resolve).once('end', resolve));
  });

  test('without stdin reads nothing', async () => {
    expect(await shell('wc -c')).toBe('0\n');
  });

  test('handles a signal', async () => {
    await using session = await boot(startRequest({ argv: ['sh', '-c', 'trap "exit 7" TERM; echo up; sleep 1000 & wait'] }));
    await session.outputUpTo(1, 'stdout', 'up\n');
    session.send({ type: 'signal', request: 2, process: 1, signal: 15 });
    expect(await session.exited(1)).toEqual({ type: 'exited', process: 1, code: 7 });
  });

  test('that dies of a signal reports it', async () => {
    await using session = await boot(startRequest({ argv: ['sleep', '1000'] }));
    await session.answer(1);
    session.send({ type: 'signal', request: 2, process: 1, signal: 9 });
    expect(await session.exited(1)).toEqual({ type: 'exited', process: 1, signal: 9 });
  });

  test('takes its descendants with it, so that its streams end', async () => {
    expect((await run({ argv: ['sh', '-c', 'sleep 1000 & echo gone'] })).stdout).toBe('gone\n');
  });

  test('has process 1, default signals and mask, and no descriptors but its own', async () => {
    const stdout = await shell('echo $$; ls /proc/self/fd; grep -E "Sig(Blk|Ign|Cgt)" /proc/1/status');
    expect(stdout).toMatch(/^1\n0\n1\n2\n3\nSigBlk:\t0+\nSigIgn:\t0+\nSigCgt:/);
  });
});
