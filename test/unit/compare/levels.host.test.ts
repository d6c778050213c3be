// Each level that Debian's packages give is started, entered, weighed and removed, and the host is
// afterwards as it was: no process, mount, cgroup or folder stays.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { compare, levelsOf, type Report } from '../../../compare/index.js';
import type { Level } from '../../../compare/level.js';
import { OPERATIONS } from '../../../compare/measures.js';
import { sourceFile } from '../../../installation/index.js';
import { EMPTY_IMAGE, type EmptyImageHome, makeEmptyImageHome } from '../../fixtures/empty-image.js';

const LEVELS = ['runc-seccomp', 'nspawn', 'lxc', 'qemu', 'qemu-microvm'];
/** Milliseconds. QEMU emulates a kernel with firmware and PCI eight times, on a host that may be busy. */
const PATIENCE = 600_000;

let made: EmptyImageHome;

beforeAll(async () => {
  made = await makeEmptyImageHome();
});

afterAll(() => made[Symbol.dispose]());

/** What the levels of a process could leave on the host. */
function traces(of: number): string[] {
  const ofIt = (text: string) => text.includes(`compare-${of}-`);
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => `process ${pid} ${rootOf(pid)} ${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')}`);
  const folders = ['/run', '/run/systemd/nspawn', '/run/systemd/machines', '/var/lib/lxc', '/run/lxc'];
  return [...processes, ...mounts(), ...below('/sys/fs/cgroup'), ...folders.flatMap((folder) => list(folder))].filter(
    ofIt,
  );
}

const mounts = () => read('/proc/self/mounts').split('\n');

/**
 * What levels could make under names of their own choice, and the network of the host. What has the
 * name of a comparison is left to `traces`: another test may have one at the same time.
 */
function shared(): string[] {
  const parents = ['/sys/fs/cgroup', ...list('/sys/fs/cgroup')];
  const cgroups = parents
    .flatMap((folder) => list(folder))
    .filter((path) => /(payload|supervisor|lxc)[^/]*$/.test(path) && !/compare-\d+-/.test(path));
  return [...cgroups, ...list('/sys/class/net'), ...list('/run/lxc'), ...list('/run/systemd')].sort();
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function rootOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/root`);
  } catch {
    return '';
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** All that is in a folder while others make and remove some of it. */
function below(folder: string): string[] {
  return list(folder).flatMap((path) => [path, ...below(path)]);
}

async function measure(name: string, levels = levelsOf([name])): Promise<Report['levels'][number]> {
  const report = await compare({
    ...{ image: EMPTY_IMAGE, home: made.home, levels, rounds: 1, memory: 2 ** 28, time: 10 },
    ...{ limit: Infinity, atOnce: 2, tcp: false, version: '1.0.0', signal: new AbortController().signal },
  });
  const [level] = report.levels;
  if (level === undefined) throw new Error('no level was reported');
  return level;
}

test.each(LEVELS)('%s is started, entered, weighed and removed', { timeout: PATIENCE }, async (name) => {
  const before = shared();
  const level = await measure(name);
  expect([level.state, level.reason, level.notMeasured]).toEqual(['measured', undefined, []]);
  const names = ['start', 'memory', 'cache', 'enter', ...OPERATIONS.map((operation) => operation.name)];
  expect(level.measures.map((each) => each.name)).toEqual(expect.arrayContaining(names));
  expect(level.measures.find((each) => each.name === 'memory')?.median).toBeGreaterThan(0);
  expect(traces(process.pid)).toEqual([]);
  expect(list('/tmp').filter((path) => path.includes(`compare-${process.pid}-`))).toEqual([]);
  expect(shared()).toEqual(before);
});

test('a command at a level without a wall ends with a comparison that is killed', async () => {
  const comparison = spawn(
    process.execPath,
    [sourceFile('bin/tsvm'), '--quiet', 'compare', '--levels', 'process', EMPTY_IMAGE, '--', '/.tsvm-gauge', 'idle'],
    { env: { ...process.env, TSVM_HOME: made.home.path }, stdio: 'ignore' },
  );
  onTestFinished(() => void comparison.kill('SIGKILL'));
  const pid = comparison.pid ?? 0;
  while (!traces(pid).some((trace) => trace.includes('gauge run'))) {
    expect(comparison.exitCode).toBe(null);
    await sleep(100);
  }
  const closed = once(comparison, 'close');
  comparison.kill('SIGKILL');
  await closed;
  await expect.poll(() => traces(pid)).toEqual([]);
});

test('why LXC fails is the first of its errors, not the last', async () => {
  const [lxc] = levelsOf(['lxc']);
  const broken: Level = {
    ...lxc!,
    prepare: (bundle, signal) => lxc!.prepare({ ...bundle, rootfs: '/nonexistent' }, signal),
  };
  const level = await measure('lxc', [broken]);
  expect([level.state, level.reason]).toEqual(['failed', expect.stringContaining('/nonexistent')]);
});

test.each(['process', ...LEVELS])('%s ends when the comparison is killed', async (name) => {
  const before = shared();
  const words = ['compare', '--levels', name, '--rounds', '9999', EMPTY_IMAGE];
  const comparison = spawn(process.execPath, [sourceFile('bin/tsvm'), '--quiet', ...words], {
    env: { ...process.env, TSVM_HOME: made.home.path },
    stdio: 'ignore',
  });
  onTestFinished(() => void comparison.kill('SIGKILL'));
  const pid = comparison.pid ?? 0;
  // The sandbox idles, and the comparison measures in it.
  while (!traces(pid).some((trace) => trace.includes('gauge measure'))) {
    expect(comparison.exitCode).toBe(null);
    await sleep(100);
  }
  const closed = once(comparison, 'close');
  comparison.kill('SIGKILL');
  await closed;
  await expect.poll(() => traces(pid)).toEqual([]);
  expect(shared()).toEqual(before);
});
