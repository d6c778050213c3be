// Bad input of `tsvm compare` as an ordinary user gives it: one clear line each.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Report, ReportSchema } from '../../../compare/index.js';
import { sourceFile } from '../../../installation/index.js';
import { tar } from '../../fixtures/tar-writer.js';

/** No other test that may run at the same time has it. */
const USER = 23_456;
/** It has nothing but a folder: no shell, no program. */
const IMAGE = 'empty:1';
/** The user may not enter the folders above the checkout: $1, seen at $2 in mounts of this command's own. */
const SCRIPT = `mount --bind "$1" "$2/checkout" && cd "$2" && folder=$2 && shift 2 && \\
exec setpriv --reuid ${USER} --regid ${USER} --clear-groups --inh-caps=-all \\
  env -i PATH="$PATH" HOME="$folder/home" TMPDIR="$folder/home" "$@"`;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  chmodSync(folder, 0o755);
  const home = join(folder, 'home');
  for (const path of [home, join(folder, 'checkout')]) mkdirSync(path);
  chownSync(home, USER, USER);
  const imported = tsvm(['import', '-', IMAGE], tar([{ path: 'etc/', type: '5', mode: 0o755 }]));
  expect([imported.code, imported.stderr]).toEqual([0, '']);
});

afterAll(() => {
  // Fails if the checkout is still there.
  rmdirSync(join(folder, 'checkout'));
  rmSync(folder, { recursive: true });
});

function tsvm(words: readonly string[], input: Uint8Array = Buffer.alloc(0)) {
  const checkout = sourceFile('.');
  const program = [process.execPath, join(folder, 'checkout/bin/tsvm'), '--quiet', ...words];
  const own = ['--mount', '--propagation', 'private', 'sh', '-ec', SCRIPT, 'sh', checkout, folder, ...program];
  const { status, stdout, stderr } = spawnSync('unshare', own, { input, encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

/** The levels of a comparison of one round, with the lines that stderr has. */
function compare(levels: string, ...command: readonly string[]) {
  const rounds = ['--rounds', '1', '--at-once', '0', '--format', 'json'];
  const { code, stdout, stderr } = tsvm(['compare', ...rounds, '--levels', levels, IMAGE, '--', ...command]);
  const report: Report = ReportSchema.parse(JSON.parse(stdout));
  return { code, stderr, levels: report.levels.map(({ name, state, reason }) => ({ name, state, reason })) };
}

test('an unknown level is refused in one line that names the levels', () => {
  const { code, stdout, stderr } = tsvm(['compare', '--levels', 'process,docker', IMAGE]);
  expect([code, stdout]).toEqual([125, '']);
  expect(stderr).toMatch(/^tsvm: no level is named "docker": use process, namespaces, runc, [a-z, -]+\n$/);
});

test('a level without rights says so in one line, and the others go on', () => {
  const { code, stderr, levels } = compare('process,nspawn,lxc,gvisor-ptrace', '/.tsvm-gauge', 'nothing');
  expect([code, stderr]).toEqual([0, '']);
  expect(levels).toEqual([
    { name: 'process', state: 'measured', reason: undefined },
    { name: 'nspawn', state: 'missing', reason: 'systemd-nspawn is for root alone' },
    { name: 'lxc', state: 'missing', reason: 'LXC makes cgroups and mounts here for root alone' },
    { name: 'gvisor-ptrace', state: 'failed', reason: expect.stringMatching(/^.*cgroup.*: permission denied$/) },
  ]);
});

test('a shell in an image that has none fails in one line', () => {
  const { code, levels } = compare('process,runc', 'sh', '-c', 'true');
  expect(code).toBe(125);
  expect(levels.map(({ state }) => state)).toEqual(['failed', 'failed']);
  expect(levels[0]?.reason).toBe('the command sh failed: sh: No such file or directory');
  expect(levels[1]?.reason).toMatch(/^the command sh failed: .*sh.*(no such|not found).*$/i);
});

/** Processes of the user, with their command lines. */
function running(): string[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      if (!/^\d+$/.test(name) || statSync(`/proc/${name}`).uid !== USER) return [];
      return [`${name} ${readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ')}`];
    } catch {
      return [];
    }
  });
}

test('a comparison of all levels measures those without rights, and says of the rest what they lack', {
  timeout: 600_000,
}, async () => {
  const { code, stdout, stderr } = tsvm(['compare', '--rounds', '1', '--at-once', '0', '--format', 'json', IMAGE]);
  expect([code, stderr]).toEqual([0, '']);
  const report: Report = ReportSchema.parse(JSON.parse(stdout));
  expect(report).toMatchObject({ complete: true, rounds: 1 });
  const untraced = "the functions that levels reach in the host's kernel are not measured: root alone may trace them";
  expect(report.warnings).toContain(`${untraced}: run tsvm compare as root`);
  const measured = report.levels.filter(({ state }) => state === 'measured');
  const without = ['process', 'namespaces', 'runc', 'runc-seccomp'];
  expect(measured.map(({ name }) => name)).toEqual(expect.arrayContaining(without));
  for (const name of without) {
    const level = measured.find((each) => each.name === name);
    const reasons = Object.fromEntries(level?.notMeasured.map((each) => [each.name, each.reason]) ?? []);
    const network = 'networks are made here for root alone';
    expect(reasons).toEqual({
      allowed: expect.stringMatching(/^the kernel shows filters to root alone.*: run tsvm compare as root/),
      ...{ 'tcp-round-trip': network, 'tcp-send': network, 'tcp-receive': network },
    });
    expect(level?.surface?.made?.find((each) => each.name === 'getppid')?.calls).toBe(20);
  }
  for (const { reason } of report.levels.filter(({ state }) => state !== 'measured')) {
    expect(reason).toMatch(/^\S.{10,}$/);
  }
  // What was killed may be waited for by nobody yet.
  await expect.poll(running).toEqual([]);
  expect(readdirSync(join(folder, 'home')).filter((name) => name.startsWith('tsvm-compare'))).toEqual([]);
});
