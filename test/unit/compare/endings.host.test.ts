// A comparison that is ended in any of its phases: it has what was done, and leaves no process, cgroup,
// folder or image. A wait that has no end would be the end of the test's patience.
import { EventEmitter, once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { compare, levelsOf } from '../../../compare/index.js';
import type { Level } from '../../../compare/level.js';
import { hierarchies, inCgroups, makeCgroups, removeCgroups } from '../../../compare/levels/cgroups.js';
import { OPERATIONS } from '../../../compare/measures.js';
import { descendantsOf } from '../../../compare/memory.js';
import { run, startIdling } from '../../../compare/running.js';
import { STORE } from '../../../images/store/layout.js';
import { withStoreLock } from '../../../images/store/lock.js';
import { EMPTY_IMAGE, type EmptyImageHome, makeEmptyImageHome } from '../../fixtures/empty-image.js';

let made: EmptyImageHome;

beforeAll(async () => {
  made = await makeEmptyImageHome();
});

afterAll(() => made[Symbol.dispose]());

/** A process with the time of its start: its number may be another's later. */
function identify(pid: number): string {
  try {
    const [, state = '', ...fields] = /\) (\S) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
    return state === 'Z' ? '' : `${pid} ${fields.join(' ').split(' ')[18]}`;
  } catch {
    return '';
  }
}

/** Folders, images and cgroups of this process's comparisons. */
async function left(): Promise<string[]> {
  const name = `compare-${process.pid}-`;
  const cgroups = hierarchies()
    .flatMap((path) => readdirSync(path))
    .filter((each) => each.startsWith(name));
  const folders = readdirSync(tmpdir()).filter((each) => each.includes(name));
  const images = (await made.home.images.list()).filter((each) => each.name !== 'empty');
  return [...cgroups, ...folders, ...images.map((each) => `${each.name} ${each.digest}`)];
}

/** Each phase takes little time until the next. */
const FEW = OPERATIONS.slice(0, 2);

const PHASES = [
  'copying',
  'preparing: runc',
  'surface: runc',
  'warm-up: runc',
  'warm-up, TCP: runc',
  '2 at once: runc',
  'round 1',
  'probes: runc',
];

test.each(PHASES.flatMap((phase) => [0, 20, 200].map((delay) => [phase, delay] as const)))(
  'a comparison that is ended in the phase "%s" after %i ms leaves nothing',
  async (phase, delay) => {
    const ending = new AbortController();
    let running: string[] = [];
    const report = await compare({
      ...{ image: EMPTY_IMAGE, home: made.home, levels: levelsOf(['runc', 'process']), version: '1.0.0' },
      ...{ rounds: 1000, memory: 2 ** 28, time: 10, limit: Infinity, atOnce: 2, operations: FEW },
      ...{ surface: phase.startsWith('surface'), probes: phase.startsWith('probes'), signal: ending.signal },
      onStep(text) {
        if (!text.startsWith(phase)) return;
        setTimeout(() => {
          running = descendantsOf(process.pid).map(identify);
          ending.abort();
        }, delay);
      },
    });
    expect(report.complete).toBe(false);
    expect(await left()).toEqual([]);
    const stays = () => running.filter((each) => each !== '' && identify(Number.parseInt(each, 10)) === each);
    await expect.poll(stays).toEqual([]);
  },
);

/**
 * Ends a comparison of the levels 100 ms after a step begins and `onPhase` resolves. Nothing in it
 * ends by itself.
 */
async function endAt(phase: string, levels: readonly Level[], onPhase: () => unknown = () => {}) {
  const ending = new AbortController();
  return await compare({
    ...{ image: EMPTY_IMAGE, home: made.home, levels, version: '1.0.0', signal: ending.signal },
    ...{ rounds: 1, memory: 2 ** 28, time: 10, limit: Infinity, atOnce: 0, tcp: false },
    onStep(text) {
      if (!text.startsWith(phase)) return;
      void Promise.resolve(onPhase()).then(() => setTimeout(() => ending.abort(), 100));
    },
  });
}

test('a comparison ends although the image store stays locked by another process, and leaves no image', {
  // The store's own patience with a lock is a minute.
  timeout: 45_000,
}, async () => {
  const store = join(made.home.path, STORE);
  const [unlocking, unlock] = [new EventEmitter(), 'unlock'];
  let locked = Promise.resolve();
  const report = await endAt('copying', levelsOf(['process']), () => {
    locked = withStoreLock(store, async () => void (await once(unlocking, unlock)));
  });
  expect(report).toMatchObject({ complete: false, rounds: 0 });
  unlocking.emit(unlock);
  await locked;
  expect(await left()).toEqual([]);
});

test('a comparison ends while a level looks for what it needs', async () => {
  const [level] = levelsOf(['process']);
  const ending = new AbortController();
  const looking: Level = {
    ...level!,
    missing() {
      ending.abort();
      return new Promise(() => {});
    },
  };
  const report = await compare({
    ...{ image: EMPTY_IMAGE, home: made.home, levels: [looking], version: '1.0.0', signal: ending.signal },
    ...{ rounds: 1, memory: 2 ** 28, time: 10, limit: Infinity, atOnce: 0 },
  });
  expect(report).toMatchObject({ complete: false, rounds: 0 });
  expect(await left()).toEqual([]);
});

test('a comparison ends while a program is asked for its version, and the program with it', {
  // A program has ten seconds to tell its version, and the level would go on then.
  timeout: 60_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'pid');
  const script = `#!/bin/sh\ntrap '' TERM\necho $$ > ${file}\nwhile :; do sleep 1000; done\n`;
  writeFileSync(join(folder, 'runc'), script, { mode: 0o755 });
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
  onTestFinished(() => void vi.unstubAllEnvs());
  const started = () => existsSync(file) && readFileSync(file, 'latin1').endsWith('\n');
  const report = await endAt('preparing: runc', levelsOf(['runc']), () => expect.poll(started).toBe(true));
  expect(report).toMatchObject({ complete: false, levels: [{ state: 'measured', measures: [] }] });
  await expect.poll(() => identify(Number(readFileSync(file, 'latin1')))).toBe('');
});

test('what holds the streams of a sandbox after its end is ended with it', async () => {
  const words = ['sh', '-c', 'sleep 1000 & echo ready'] as const;
  const idling = await startIdling({ words, env: process.env }, new AbortController().signal);
  await expect.poll(() => identify(idling.pid)).toBe('');
  await idling[Symbol.asyncDispose]();
});

test('cgroups of a runtime that was killed as it made them are removed, with what is in them', async () => {
  const id = `compare-${process.pid}-abandoned`;
  makeCgroups(id, 2 ** 28);
  const { signal } = new AbortController();
  const words = [...inCgroups(id), 'sh', '-c', 'echo ready; exec sleep 1000'] as const;
  await using idling = await startIdling({ words, env: process.env }, signal);
  const removed = await run({ words: removeCgroups(id, ['false']), env: process.env }, signal);
  expect([removed.code, await left()]).toEqual([0, []]);
  await expect.poll(() => identify(idling.pid)).toBe('');
});
