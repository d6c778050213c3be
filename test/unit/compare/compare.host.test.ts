// Levels measured for real, with an image that has nothing but a folder: no shell, no program.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type CompareOptions, compare, levelsOf, type Report, ReportSchema } from '../../../compare/index.js';
import type { CommandLine, Level } from '../../../compare/level.js';
import { holdMounts } from '../../../compare/levels/mounts.js';
import { OPERATIONS, SLEEP, TCP_OPERATIONS } from '../../../compare/measures.js';
import { run } from '../../../compare/running.js';
import { FEWEST_PAIRS } from '../../../compare/statistics.js';
import { SYSCALLS } from '../../../seccomp/syscalls.js';
import { EMPTY_IMAGE, type EmptyImageHome, makeEmptyImageHome } from '../../fixtures/empty-image.js';

/** Milliseconds for tests with many rounds, on a host that may be busy. */
const PATIENCE = 600_000;

let made: EmptyImageHome;

beforeAll(async () => {
  made = await makeEmptyImageHome();
});

afterAll(() => made[Symbol.dispose]());

async function measure(names: readonly string[], more: Partial<CompareOptions> = {}): Promise<Report> {
  // The comparison of a test that fails does not run beside the next.
  const ending = new AbortController();
  onTestFinished(() => ending.abort());
  return compare({
    ...{ image: EMPTY_IMAGE, home: made.home, levels: levelsOf(names), version: '1.0.0' },
    ...{ rounds: 2, memory: 2 ** 28, time: 10 },
    // That of a user, which the first test has, is longer.
    watch: 10,
    ...{ limit: Infinity, atOnce: 0, tcp: false },
    signal: ending.signal,
    ...more,
  });
}

/** Whose the host's /dev/null is, and for whom. */
function nullDevice() {
  const { uid, gid, mode } = statSync('/dev/null');
  return { uid, gid, mode };
}

/** Folders and images that comparisons of this process have left. */
async function left(): Promise<string[]> {
  const folders = readdirSync(tmpdir()).filter((name) => name.startsWith(`tsvm-compare-${process.pid}-`));
  const images = (await made.home.images.list()).filter(({ name }) => name !== 'empty');
  return [...folders, ...images.map(({ name, digest }) => `${name} ${digest}`)];
}

test('levels of Debian give every measure in every round, the report fits its schema, and nothing is left', {
  timeout: PATIENCE,
}, async () => {
  const device = nullDevice();
  const report = await measure(['process', 'namespaces', 'runc', 'crun', 'gvisor-ptrace'], {
    ...{ rounds: 1, tcp: true, watch: 500 },
  });
  expect(ReportSchema.parse(report)).toEqual(report);
  expect(report.complete).toBe(true);
  const operations = [...OPERATIONS, ...TCP_OPERATIONS].map(({ name }) => name);
  const names = ['start', 'memory', 'cache', 'enter', ...operations];
  expect(report.rounds).toBe(1);
  for (const level of report.levels) {
    expect({ ...level, measures: level.measures.map(({ name }) => name) }).toMatchObject({
      state: 'measured',
      notMeasured: [],
      measures: names,
    });
    for (const { samples, warmUp } of level.measures) expect([samples.length, warmUp.length]).toEqual([1, 1]);
  }
  expect(await left()).toEqual([]);
  expect(nullDevice()).toEqual(device);
});

test('TCP is measured at each level that has a network, in networks of its own', { timeout: PATIENCE }, async () => {
  const networks = () => readdirSync('/sys/class/net').sort();
  const before = networks();
  const report = await measure(['runc-seccomp', 'nspawn', 'lxc'], {
    operations: [],
    rounds: 1,
    tcp: true,
  });
  const found = report.levels.map(({ name, state, measures, notMeasured }) => {
    const tcp = measures.filter((each) => each.name.startsWith('tcp-')).map((each) => each.median > 0);
    return [name, state, tcp, notMeasured];
  });
  const all = [true, true, true];
  expect(found).toEqual(report.levels.map(({ name }) => [name, 'measured', all, []]));
  expect(networks()).toEqual(before);
  expect(await left()).toEqual([]);
});

test('a command that the image lacks fails at its level in one line, and the measures before it stay', async () => {
  const report = await measure(['process'], { command: ['/bin/sh', '-c', 'true'] });
  expect(report.levels[0]).toMatchObject({
    state: 'failed',
    reason: 'the command /bin/sh failed: /bin/sh: No such file or directory',
  });
  expect(await left()).toEqual([]);
});

/** A level as another one is, with a sleep built into each of its commands. */
function withSleep(level: Level, seconds: number): Level {
  const slowly = ({ words, env }: CommandLine): CommandLine => {
    return { words: ['/bin/sh', '-c', `sleep ${seconds}; exec "$@"`, 'sh', ...words], env };
  };
  return {
    ...level,
    name: `${level.name}-slow`,
    async prepare(bundle, signal) {
      const prepared = await level.prepare(bundle, signal);
      return {
        ...prepared,
        start: (...given) => slowly(prepared.start(...given)),
        exec: (...given) => slowly(prepared.exec(...given)),
      };
    },
  };
}

test('a sleep that is built into a level is in its start and its commands, in which it differs, and not in what they measure', async () => {
  const [level] = levelsOf(['process']);
  // A second is more than what a busy host adds to a start.
  const levels = [level!, withSleep(level!, 1)];
  const report = await measure([], { levels, operations: [SLEEP], rounds: FEWEST_PAIRS });
  const [plain, slow] = report.levels.map(({ measures }) =>
    Object.fromEntries(measures.map(({ name, median }) => [name, median])),
  );
  for (const name of ['start', 'enter']) {
    expect(slow?.[name]).toBeGreaterThanOrEqual(1000);
    expect(slow?.[name]).toBeGreaterThan(plain?.[name] ?? Infinity);
  }
  expect(slow?.sleep).toBeLessThan(1000);
  const later = report.levels[1]?.measures.filter(({ difference }) => difference?.sign === 1).map(({ name }) => name);
  expect(later).toEqual(expect.arrayContaining(['start', 'enter']));
});

test('a level does not differ from itself in 20 figures', { timeout: PATIENCE }, async () => {
  const [level] = levelsOf(['process']);
  const report = await measure([], {
    levels: [level!, level!],
    ...{ rounds: 10, time: 9, command: ['/.tsvm-gauge', 'nothing'] },
  });
  const [one, other] = report.levels;
  expect(one?.measures.map(({ samples, difference }) => [samples.length, difference])).toEqual(
    Array.from({ length: 20 }, () => [10, undefined]),
  );
  // With 99 percent each, one of 20 may differ.
  expect(other?.measures.filter(({ difference }) => difference?.sign !== 0).length).toBeLessThanOrEqual(1);
  // Two runs of a level, each with its interval.
  const apart = other?.measures.filter(({ name, interval: [low, high] }) => {
    const [lowest = Number.NaN, highest = Number.NaN] =
      one?.measures.find((each) => each.name === name)?.interval ?? [];
    return low > highest || high < lowest;
  });
  expect(apart?.length).toBeLessThanOrEqual(1);
});

test('several sandboxes at once give a start of each, a mean weight, and what one adds on disk; a sleep of 10 ms is no less', async () => {
  const report = await measure(['process', 'runc', 'gvisor-ptrace'], { operations: [SLEEP], rounds: 1, atOnce: 3 });
  for (const { name, measures, notMeasured } of report.levels) {
    const found = Object.fromEntries(measures.map((each) => [each.name, each.samples]));
    expect([name, notMeasured, found['start-3']?.length, found['memory-3']?.length]).toEqual([name, [], 6, 2]);
    expect(Math.min(...(found.sleep ?? [0]))).toBeGreaterThanOrEqual(10);
    // A chroot keeps no file. A runtime has a folder with a configuration.
    if (name === 'process') expect(found.disk).toEqual([0, 0]);
    else expect(Math.min(...(found.disk ?? []))).toBeGreaterThanOrEqual(4);
  }
  expect(await left()).toEqual([]);
});

/** A clock that goes on by the steps of a comparison alone: a minute each, or what `take` says. */
function clock(take: (step: string) => number = () => 1) {
  let minutes = 0;
  const onStep = (step: string) => {
    minutes += take(step);
  };
  return { now: () => minutes * 60_000, onStep };
}

/** What is not measured, by level, because the limit was over. */
function leftOut({ levels }: Report, limit: string): Record<string, string[]> {
  const names = (level: Report['levels'][number]) =>
    level.notMeasured.filter(({ reason }) => reason === `the limit of ${limit} was over`).map(({ name }) => name);
  return Object.fromEntries(levels.map((level) => [level.name, names(level)]));
}

test('no round starts that would end after the limit, and the report says how many were done', async () => {
  // The copy of the files, the preparation, the warm-up, and rounds of a minute: the fourth would
  // end after seven.
  const report = await measure(['process'], { operations: [], rounds: 1000, limit: 6.5 * 60_000, ...clock() });
  expect(report).toMatchObject({ rounds: 3, complete: true });
  expect(report.warnings[0]).toBe('3 of 1000 rounds were done within 390 s');
  expect(report.levels[0]?.measures[0]?.samples.length).toBe(3);
  expect(report.levels[0]?.notMeasured).toEqual([]);
});

test('each phase begins no step after its share of the limit, and the report names what was left out', async () => {
  // Of 100 minutes, the looks of runc end after 21 and 42, the warm-up of the first level after 62.
  const minutes: Record<string, number> = { 'probes: process': 21, 'surface: process': 21, 'warm-up: process': 20 };
  const report = await measure(['process', 'runc'], {
    ...{ operations: [], rounds: 2, atOnce: 2, probes: true, surface: true, limit: 100 * 60_000 },
    ...clock((step) => minutes[step] ?? 0),
  });
  expect(report).toMatchObject({ complete: true, rounds: 2 });
  expect(leftOut(report, '6000 s')).toEqual({ process: [], runc: ['probes', 'surface'] });
  expect(report.warnings).toContain('not warmed up, because of the limit: runc');
  expect(report.levels.map(({ measures }) => measures.find(({ name }) => name === 'start')?.samples.length)).toEqual([
    2, 2,
  ]);
});

test('a limit that is over among several sandboxes, or in the first round, leaves out the rest', async () => {
  const among = await measure(['process', 'runc'], {
    ...{ operations: [], rounds: 1, atOnce: 2, limit: 100 * 60_000 },
    ...clock((step) => (step === '2 at once: process' ? 66 : 0)),
  });
  expect(leftOut(among, '6000 s')).toEqual({ process: [], runc: ['start-2', 'memory-2', 'cache-2', 'disk'] });
  const first = await measure(['process', 'runc'], {
    ...{ operations: [], rounds: 1, limit: 100 * 60_000 },
    ...clock((step) => (step.startsWith('round 1 of 1') ? 101 : 0)),
  });
  expect(first).toMatchObject({ complete: true, rounds: 0 });
  expect(first.warnings).toContain('0 of 1 rounds were done within 6000 s');
  // The order has turned since the warm-up.
  expect(leftOut(first, '6000 s')).toEqual({ process: ['rounds'], runc: [] });
});

test('a step that runs when the limit is over is ended, and leaves nothing', async () => {
  // It idles for ever.
  const report = await measure(['process'], { operations: [], command: ['/.tsvm-gauge', 'idle'], limit: 5000 });
  expect(report).toMatchObject({ complete: true, rounds: 0, levels: [{ state: 'measured', measures: [] }] });
  expect(leftOut(report, '5 s')).toEqual({ process: ['rounds'] });
  expect(await left()).toEqual([]);
});

test('a comparison that is ended while a level is being prepared leaves nothing', async () => {
  const [level] = levelsOf(['process']);
  const file = join(made.home.path, 'holder');
  const holder = () => (existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0);
  const ending = new AbortController();
  const endless: Level = {
    ...level!,
    async prepare(_bundle, signal) {
      const held = holdMounts(signal, 'echo $$ > "$1"; sleep 1000', file);
      void expect
        .poll(holder)
        .toBeGreaterThan(0)
        .then(() => ending.abort());
      await held;
      throw new Error('its mounts were made');
    },
  };
  const report = await measure([], { levels: [endless], operations: [], signal: ending.signal });
  expect(report).toMatchObject({ complete: false, rounds: 0, levels: [{ state: 'measured', measures: [] }] });
  expect(await left()).toEqual([]);
  expect(() => process.kill(holder(), 0)).toThrow('ESRCH');
});

test('the copy of an image ends with the reason of a signal', async () => {
  const { images } = made.home;
  const image = await images.open((await images.resolve(EMPTY_IMAGE, { pull: 'never' })).digest);
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const reason = new Error('enough');
  await expect(image.extract('/', folder, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(readdirSync(folder)).toEqual([]);
});

test('an operation that fails is not measured, with the reason, and the others are', async () => {
  const none = { name: 'nonsense', title: 'nonsense', unit: 'ns' as const, scale: 1 };
  const [level] = (await measure(['process'], { operations: [none, SLEEP], rounds: 1 })).levels;
  expect(level?.notMeasured).toEqual([{ name: 'nonsense', reason: 'no operation has this name' }]);
  expect(level?.measures.map(({ name }) => name)).toContain('sleep');
});

test('a program that fails is not measured, with the reason, and the level goes on', async () => {
  const program = (name: string, ...command: readonly string[]) => ({
    name,
    title: name,
    unit: 'ms' as const,
    needs: [],
    command,
  });
  const programs = [program('works', '/.tsvm-gauge', 'nothing'), program('fails', '/bin/none')];
  const [level] = (await measure(['runc'], { operations: [SLEEP], programs, rounds: 1 })).levels;
  expect(level?.state).toBe('measured');
  expect(level?.measures.map(({ name }) => name)).toEqual(['start', 'memory', 'cache', 'enter', 'sleep', 'works']);
  expect(level?.notMeasured).toEqual([
    { name: 'fails', reason: 'the command /bin/none failed: /bin/none: No such file or directory' },
  ]);
});

test("the command's time and output are kept, of each round", async () => {
  const report = await measure(['process', 'runc'], { command: ['/.tsvm-gauge', 'measure', '1', '/tmp', 'syscall'] });
  for (const { measures, outputs } of report.levels) {
    expect(measures.find(({ name }) => name === 'command')?.samples.length).toBe(2);
    expect(outputs).toEqual([
      expect.stringMatching(/^syscall \d+\.\d+\n$/),
      expect.stringMatching(/^syscall \d+\.\d+\n$/),
    ]);
  }
});

test('a comparison that is ended has what was done, and leaves nothing', async () => {
  const ending = new AbortController();
  const report = await measure(['process', 'runc'], {
    rounds: 1000,
    signal: ending.signal,
    onStep: (text) => {
      if (text.startsWith('round 3')) ending.abort();
    },
  });
  expect(report.complete).toBe(false);
  expect(report.levels[0]?.measures.find(({ name }) => name === 'start')?.samples.length).toBe(2);
  expect(await left()).toEqual([]);
});

test('a comparison that is ended among several sandboxes has the levels before, and leaves nothing', async () => {
  const ending = new AbortController();
  const [process, runc, gvisor] = levelsOf(['process', 'runc', 'gvisor-ptrace']);
  let starts = 0;
  const ended: Level = {
    ...runc!,
    async prepare(bundle, signal) {
      const prepared = await runc!.prepare(bundle, signal);
      const start = (...given: Parameters<typeof prepared.start>) => {
        // After that of the warm-up: two programs run, and none can have said that it is ready.
        if (++starts === 4) ending.abort();
        return prepared.start(...given);
      };
      return { ...prepared, start };
    },
  };
  const report = await measure([], {
    ...{ levels: [process!, ended, gvisor!], operations: [], rounds: 1, atOnce: 3, signal: ending.signal },
  });
  expect(report).toMatchObject({ complete: false, rounds: 0 });
  const samples = report.levels.map(({ measures }) => measures.find(({ name }) => name === 'start-3')?.samples.length);
  expect(samples).toEqual([3, undefined, undefined]);
  expect(report.levels.map(({ state }) => state)).toEqual(['measured', 'measured', 'measured']);
  expect(await left()).toEqual([]);
});

test('a look at surfaces that is ended has the levels before, and leaves nothing', async () => {
  const ending = new AbortController();
  const report = await measure(['process', 'runc', 'gvisor-ptrace'], {
    ...{ costs: false, surface: true, signal: ending.signal },
    onStep: (text) => {
      if (text === 'surface: gvisor-ptrace') setTimeout(() => ending.abort(), 1000);
    },
  });
  expect(report.complete).toBe(false);
  expect(report.levels.map(({ surface }) => surface?.tried)).toEqual([SYSCALLS.size, SYSCALLS.size, undefined]);
  expect(await left()).toEqual([]);
});

test("probes tell the host's kernel from one of the sandbox's own, and open doors from closed ones", async () => {
  const report = await measure(['process', 'runc', 'gvisor-ptrace'], { costs: false, probes: true });
  expect(ReportSchema.parse(report)).toEqual(report);
  const [host, runc, gvisor] = report.levels.map(({ probes }) =>
    Object.fromEntries(probes.map(({ name, verdict }) => [name, verdict])),
  );
  expect(host).toMatchObject({ boot: 'host', process: 'host', loopback: 'host', sysctl: 'host' });
  expect(runc).toMatchObject({ boot: 'host', process: 'closed', loopback: 'closed', sysctl: 'closed', disk: 'closed' });
  expect(gvisor).toMatchObject({ release: 'own', process: 'closed', loopback: 'closed', bpf: 'closed' });
  expect(await left()).toEqual([]);
});

test('an unknown level is refused in one line that names the levels', () => {
  expect(() => levelsOf(['runc', 'docker'])).toThrow(/^no level is named "docker": use process, namespaces, runc, /);
});

test('programs of a pinned level run on its CPU alone, and this program on those it had', async () => {
  const before = readFileSync('/proc/self/status', 'latin1');
  const own = /^Cpus_allowed_list:.*$/m.exec(before)?.[0];
  const words = ['/bin/sh', '-c', 'grep Cpus_allowed_list /proc/self/status'] as const;
  const pinned = await run({ words, env: process.env, cpus: [0] }, new AbortController().signal);
  expect(pinned.stdout).toMatch(/^Cpus_allowed_list:\t0\n$/);
  const free = await run({ words, env: process.env }, new AbortController().signal);
  expect(free.stdout.trim()).toBe(own);
  const report = await measure(['process', 'runc', 'gvisor-ptrace'], { cpus: [0], operations: [], rounds: 1 });
  expect(report.pinned).toEqual([0]);
  expect(report.levels.map(({ notMeasured }) => notMeasured)).toEqual([[], [], []]);
  await expect(measure(['process'], { cpus: [1023] })).rejects.toThrow(/^this host has no CPU 1023 for this program/);
  expect(await left()).toEqual([]);
});

test('a comparison of levels that this host lacks says why, and copies no image', async () => {
  const [process] = levelsOf(['process']);
  const steps: string[] = [];
  const report = await compare({
    ...{ image: EMPTY_IMAGE, home: made.home, levels: [{ ...process!, missing: () => ({ reason: 'none' }) }] },
    ...{ rounds: 1, memory: 2 ** 28, time: 10, limit: Infinity, atOnce: 0, version: '1.0.0' },
    ...{ signal: new AbortController().signal, onStep: (text) => void steps.push(text) },
  });
  expect(report).toMatchObject({ complete: true, rounds: 0, levels: [{ state: 'missing', reason: 'none' }] });
  expect(steps).toEqual([]);
});
