// A comparison that is ended in any of its phases: it has what was done, and leaves no process, cgroup,
// folder or image. A wait that has no end would be the end of the test's patience.
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compare, levelsOf } from '../../../compare/index.js';
import { hierarchies, inCgroups, makeCgroups, removeCgroups } from '../../../compare/levels/cgroups.js';
import { descendantsOf } from '../../../compare/memory.js';
import { run, startIdling } from '../../../compare/running.js';
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

const PHASES = [
  'copying',
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
      ...{ rounds: 1000, memory: 2 ** 28, time: 10, limit: Infinity, atOnce: 2 },
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
