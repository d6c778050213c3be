// ps, its filter and inspect tell the health of a container, from records of this build and of older
// ones. What a guest has said in a check is harmless on a terminal.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bootId, type ContainerState, type Health } from '../../../sandbox/home/container-record.js';
import { Home } from '../../../sandbox/home/home.js';
import type { FileLock } from '../../../sandbox/home/lock.js';
import { makeContainer } from '../sandbox/home/containers.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));

let folder: string;
let home: Home;
let locks: (FileLock | undefined)[];

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'runtime'), { mode: 0o700 });
  home = new Home(join(folder, 'home'), join(folder, 'runtime'));
  locks = [];
});

afterEach(() => {
  for (const lock of locks) lock?.[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function tsvm(...args: string[]): string {
  const env = { ...process.env, TSVM_HOME: home.path, XDG_RUNTIME_DIR: home.runtime };
  const { status, stdout, stderr } = spawnSync(TSVM, args, { encoding: 'utf8', env });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

/** A container whose supervisor is this process. */
async function container(name: string, state: Partial<ContainerState>): Promise<void> {
  const stored = await makeContainer(home, name);
  locks.push(await stored.lock());
  stored.writeState({
    ...stored.state(),
    ...{ status: 'running', supervisorPid: process.pid, bootId: bootId(), startedAt: new Date().toISOString() },
    ...state,
  });
}

const health = (status: Health['status'], output = ''): { health: Health } => ({
  health: { status, failingStreak: 4, log: [{ start: '2026-01-01T00:00:00.000Z', end: 'e', exitCode: 1, output }] },
});

test('ps and its filter tell health', async () => {
  await container('begins', health('starting'));
  await container('good', health('healthy'));
  await container('bad', health('unhealthy'));
  await container('unchecked', {});
  await container('still', { ...health('healthy'), status: 'paused' });
  await container('silent', { ...health('healthy'), unresponsive: true });
  await container('gone', { ...health('healthy'), status: 'exited' });
  const listed = Object.fromEntries(
    tsvm('ps', '-a', '--format', '{{.Names}}={{.Status}}')
      .trim()
      .split('\n')
      .map((line) => line.split('=')),
  );
  const since = (pattern: RegExp) => expect.stringMatching(pattern);
  expect(listed).toEqual({
    begins: since(/^Up .+ \(health: starting\)$/),
    good: since(/^Up .+ \(healthy\)$/),
    bad: since(/^Up .+ \(unhealthy\)$/),
    unchecked: since(/^Up [^(]+$/),
    still: since(/^Up .+ \(Paused\)$/),
    silent: since(/^Up .+ \(unresponsive\)$/),
    gone: 'Exited (0)',
  });
  const filtered = (value: string) =>
    tsvm('ps', '-a', '--filter', `health=${value}`, '--format', '{{.Names}}').trim().split('\n').sort();
  expect(filtered('starting')).toEqual(['begins']);
  expect(filtered('healthy')).toEqual(['good', 'silent', 'still']);
  // As in Docker, one that has ended is unhealthy.
  expect(filtered('unhealthy')).toEqual(['bad', 'gone']);
  expect(filtered('none')).toEqual(['unchecked']);
  const env = { ...process.env, TSVM_HOME: home.path };
  const { status, stderr } = spawnSync(TSVM, ['ps', '--filter', 'health=ill'], { encoding: 'utf8', env });
  expect({ status, stderr }).toEqual({
    status: 125,
    stderr: expect.stringContaining(
      "invalid argument 'health=ill' for --filter: expected starting, healthy, unhealthy, none",
    ),
  });
});

test("inspect has Docker's shape, with what the guest said as JSON, and null without checks", async () => {
  await container('bad', health('unhealthy', '\x1b]0;x\x07\u009b31m\u202e'));
  await container('unchecked', {});
  expect(JSON.parse(tsvm('inspect', '-f', '{{json .State.Health}}', 'bad'))).toEqual({
    Status: 'unhealthy',
    FailingStreak: 4,
    Log: [{ Start: '2026-01-01T00:00:00.000Z', End: 'e', ExitCode: 1, Output: '\x1b]0;x\x07\u009b31m\u202e' }],
  });
  expect(tsvm('inspect', 'bad')).toContain('"Output": "\\u001b]0;x\\u0007\\u009b31m\\u202e"');
  expect(
    tsvm('inspect', '-f', '{{if .State.Health}}yes{{else}}no{{end}} {{json .Config.Healthcheck}}', 'unchecked'),
  ).toBe('no null\n');
});
