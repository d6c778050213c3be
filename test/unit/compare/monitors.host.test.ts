// Monitors that Debian has no package of, with programs in their place that fail or hang: the level
// says why in one line, and the others go on.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { compare, levelsOf, type Report } from '../../../compare/index.js';
import type { Level } from '../../../compare/level.js';
import { EMPTY_IMAGE, type EmptyImageHome, makeEmptyImageHome } from '../../fixtures/empty-image.js';

const MONITORS = ['firecracker', 'cloud-hypervisor'] as const;

let made: EmptyImageHome;
let folder: string;

beforeEach(async () => {
  made = await makeEmptyImageHome();
  folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
});

afterEach(() => {
  vi.unstubAllEnvs();
  made[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** The level of a monitor that is there, whether this host has KVM or not. */
function there(name: string, script: string): Level {
  writeFileSync(join(folder, name), `#!/bin/sh\n[ "$1" != --version ] || exec echo "${name} v1"\n${script}\n`, {
    mode: 0o755,
  });
  return { ...levelsOf([name])[0]!, missing: () => undefined };
}

async function measure(levels: readonly Level[], patience: number): Promise<Report> {
  return await compare({
    ...{ image: EMPTY_IMAGE, home: made.home, levels, rounds: 1, memory: 2 ** 28, time: 10, operations: [] },
    ...{ limit: Infinity, patience, atOnce: 2, tcp: false, version: '1.0.0', signal: new AbortController().signal },
  });
}

const found = ({ levels }: Report) => levels.map(({ name, version, state, reason }) => [name, version, state, reason]);
const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`tsvm-compare-${process.pid}-`));

test('a monitor that fails is told in its own words, and the next level is measured', async () => {
  const fails = 'echo starting; echo "cannot open the device: no such device" >&2; exit 1';
  const report = await measure([...MONITORS.map((name) => there(name, fails)), ...levelsOf(['process'])], 60_000);
  const why = 'cannot open the device: no such device';
  expect(found(report)).toEqual([
    ...MONITORS.map((name) => [name, `${name} v1`, 'failed', why]),
    ['process', expect.stringContaining('util-linux'), 'measured', undefined],
  ]);
  expect(report).toMatchObject({ complete: true, rounds: 1 });
  expect(left()).toEqual([]);
});

test('a monitor that says nothing is ended after its time, and the next level is measured', async () => {
  const hangs = `echo $$ >> ${folder}/pids; trap '' TERM; while :; do sleep 1000; done`;
  const report = await measure([...MONITORS.map((name) => there(name, hangs)), ...levelsOf(['process'])], 10_000);
  const why = 'it has not started within 10 s';
  expect(found(report)).toEqual([
    ...MONITORS.map((name) => [name, `${name} v1`, 'failed', why]),
    ['process', expect.stringContaining('util-linux'), 'measured', undefined],
  ]);
  expect(report).toMatchObject({ complete: true, rounds: 1 });
  const pids = readFileSync(join(folder, 'pids'), 'latin1').trim().split('\n').map(Number);
  expect(pids.length).toBe(2);
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  expect(left()).toEqual([]);
});

test('a monitor that writes nonsense and ends without an error is told by its last line', async () => {
  const report = await measure([there('firecracker', 'echo nonsense')], 60_000);
  expect(found(report)).toEqual([['firecracker', 'firecracker v1', 'failed', 'nonsense']]);
});
