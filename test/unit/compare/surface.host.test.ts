// The surface of levels on this host: known answers by filters made for the test, and by processes
// whose system calls are known.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { compare, levelsOf, ReportSchema } from '../../../compare/index.js';
import type { CommandLine, Level } from '../../../compare/level.js';
import { countCalls } from '../../../compare/surface/made.js';
import { describeProcess, threadsOf } from '../../../compare/surface/processes.js';
import { filtersOf } from '../../../compare/surface/surface.js';
import { builtFile } from '../../../installation/index.js';
import { compileProfile } from '../../../seccomp/compile.js';
import { SYSCALLS } from '../../../seccomp/syscalls.js';
import { EMPTY_IMAGE, type EmptyImageHome, makeEmptyImageHome } from '../../fixtures/empty-image.js';

let made: EmptyImageHome;

beforeAll(async () => {
  made = await makeEmptyImageHome();
});

afterAll(() => made[Symbol.dispose]());

async function surfaceOf(levels: readonly Level[]) {
  const report = await compare({
    ...{
      image: EMPTY_IMAGE,
      home: made.home,
      levels,
      rounds: 1,
      memory: 2 ** 28,
      time: 10,
      version: '1.0.0',
      limit: Infinity,
      atOnce: 0,
    },
    ...{ costs: false, surface: true, signal: new AbortController().signal },
  });
  expect(ReportSchema.parse(report)).toEqual(report);
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith(`tsvm-compare-${process.pid}-`))).toEqual([]);
  return report.levels.map(({ surface, notMeasured }) => ({ surface, notMeasured }));
}

/** What the gauge needs to start, to work and to idle. */
const NEEDED = [
  ...['execve', 'arch_prctl', 'set_tid_address', 'brk', 'mmap', 'munmap', 'mprotect', 'rt_sigaction', 'rt_sigprocmask'],
  ...[
    'write',
    'writev',
    'pause',
    'unlink',
    'nanosleep',
    'clock_nanosleep',
    'ioctl',
    'fork',
    'clone',
    'wait4',
    'exit_group',
  ],
];

/** The words of a filter, as Docker's profile. */
function filterOf(names: readonly string[]): string {
  const code = compileProfile(
    { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: [...names], action: 'SCMP_ACT_ALLOW' }] },
    { capabilities: [], kernelRelease: '6.1' },
  );
  const digits = (value: number, count: number) => value.toString(16).padStart(count, '0');
  return code
    .map(({ code: word, jt, jf, k }) => digits(word, 4) + digits(jt, 2) + digits(jf, 2) + digits(k, 8))
    .join('');
}

/** A chroot whose command has a filter. */
function filtered(names: readonly string[]): Level {
  const [level] = levelsOf(['process']);
  const word = filterOf(names);
  const within = ({ words, env }: CommandLine): CommandLine => {
    const at = words.indexOf('/.tsvm-gauge');
    return { words: [words[0], ...words.slice(1, at), '/.tsvm-gauge', 'within', word, ...words.slice(at)], env };
  };
  return {
    ...level!,
    name: 'filtered',
    async prepare(bundle, signal) {
      const prepared = await level!.prepare(bundle, signal);
      return { ...prepared, start: (...given) => within(prepared.start(...given)) };
    },
  };
}

test('a level whose filter allows 27 calls counts 27, by its code and by trying', async () => {
  const more = [...SYSCALLS.keys()].filter((name) => !NEEDED.includes(name)).slice(100, 127 - NEEDED.length);
  const names = [...NEEDED, ...more];
  expect(names.length).toBe(27);
  const [found] = await surfaceOf([filtered(names)]);
  expect(found?.surface?.allowed).toEqual(names.toSorted());
  expect(found?.surface?.tried).toBe(27);
});

test('a chroot has no filter, a container holds less, and a kernel in user space lets less through', async () => {
  const [bare, runc, gvisor] = await surfaceOf(levelsOf(['process', 'runc', 'gvisor-ptrace']));
  const faces = (found: typeof bare) => found?.surface?.processes.find((each) => each.faces);
  expect([bare?.notMeasured, runc?.notMeasured, gvisor?.notMeasured]).toEqual([[], [], []]);
  expect(bare?.surface).toMatchObject({ tried: SYSCALLS.size });
  expect(bare?.surface?.allowed?.length).toBe(SYSCALLS.size);
  expect(faces(runc)).toMatchObject({ capabilities: 3, capabilitiesIn: 'host' });
  expect(faces(runc)?.namespaces).toEqual(expect.arrayContaining(['mnt', 'net', 'pid']));
  const allowed = gvisor?.surface?.allowed ?? [];
  expect(allowed.length).toBeGreaterThan(20);
  expect(allowed.length).toBeLessThan(SYSCALLS.size / 2);
  expect(allowed).not.toContain('execve');
  // What a filter lets through with arguments of 0 is part of what it lets through with any.
  expect(gvisor?.surface?.tried).toBeLessThanOrEqual(allowed.length);
  // In a container the program's own calls reach the host, turn for turn.
  const calls = (found: typeof bare, name: string) => found?.surface?.made?.find((each) => each.name === name)?.calls;
  expect([calls(bare, 'getppid'), calls(runc, 'getppid')]).toEqual([20, 20]);
  expect(calls(gvisor, 'getppid')).toBeUndefined();
});

test('the calls of a process are counted as it makes them', async () => {
  const child = spawn('perl', ['-e', '$| = 1; print "up\n"; <STDIN>; getppid for 1..1000; print "done\n"; <STDIN>']);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const counting = await countCalls([child.pid ?? 0], join(made.home.path, 'counts'), new AbortController().signal);
  const done = new Promise((resolve) => child.stdout.once('data', resolve));
  child.stdin.write('\n');
  await done;
  const found = await counting.end();
  child.stdin.end();
  expect(found.find(({ name }) => name === 'getppid')).toEqual({ name: 'getppid', calls: 1000 });
});

test('a filter that is tried makes no call: those that would end or change the process do not', () => {
  const all = execFileSync(builtFile('tsvm-gauge'), ['try', filterOf([...SYSCALLS.keys()])], { encoding: 'utf8' });
  expect(
    all
      .trim()
      .split('\n')
      .map(Number)
      .sort((a, b) => a - b),
  ).toEqual([...SYSCALLS.values()].sort((a, b) => a - b));
});

/** A process that has ended, and whose parent has not asked how. */
async function makeZombie(): Promise<{ zombie: number; parent: number }> {
  const parent = spawn('perl', ['-e', '$| = 1; my $pid = fork or exit; print "$pid\n"; <STDIN>']);
  onTestFinished(() => void parent.kill('SIGKILL'));
  const zombie = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)));
  await expect.poll(() => readFileSync(`/proc/${zombie}/stat`, 'latin1')).toMatch(/\) Z /);
  return { zombie, parent: parent.pid ?? 0 };
}

/** A process that strace counts the calls of. */
async function makeTraced(): Promise<number> {
  const { pid = 0 } = spawn('sleep', ['1000']);
  onTestFinished(() => void process.kill(pid, 'SIGKILL'));
  const tracing = await countCalls([pid], join(made.home.path, 'traced'), new AbortController().signal);
  onTestFinished(async () => void (await tracing.end()));
  return pid;
}

test('processes that end or get a tracer before their calls are counted make none, and the others are counted', async () => {
  const { pid: gone = 0 } = spawnSync('true');
  const { zombie } = await makeZombie();
  const traced = await makeTraced();
  const child = spawn('perl', ['-e', '$| = 1; print "up\n"; <STDIN>; getppid for 1..10; print "done\n"; <STDIN>']);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const { signal } = new AbortController();
  const path = join(made.home.path, 'counts');
  expect([describeProcess(gone), describeProcess(zombie), threadsOf(gone)]).toEqual([undefined, undefined, []]);
  for (const none of [gone, zombie, traced]) expect(await (await countCalls([none], path, signal)).end()).toEqual([]);
  const counting = await countCalls([gone, zombie, traced, child.pid ?? 0], path, signal);
  const done = new Promise((resolve) => child.stdout.once('data', resolve));
  child.stdin.write('\n');
  await done;
  const found = await counting.end();
  child.stdin.end();
  expect(found.find(({ name }) => name === 'getppid')).toEqual({ name: 'getppid', calls: 10 });
});

test('a signal that comes as the filters of a thread are looked at reaches it', async () => {
  const script = '$| = 1; $SIG{ALRM} = sub { print "rung\n" }; print "up\n"; sleep 1 while 1';
  const child = spawn('perl', ['-e', script]);
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  child.stdout.on('data', (part) => {
    said += part;
  });
  await expect.poll(() => said).toBe('up\n');
  // The gauge is stopped after its first call of ptrace, and the signal stops the thread before the
  // second.
  const words = ['-o', '/dev/null', '-e', 'trace=ptrace', '-e', 'inject=ptrace:signal=SIGSTOP:when=1'];
  const look = spawn('strace', [...words, builtFile('tsvm-gauge'), 'filters', String(child.pid)]);
  const ended = once(look, 'close');
  const status = () => readFileSync(`/proc/${child.pid}/status`, 'latin1');
  const tracer = () => Number(/^TracerPid:\s+(\d+)$/m.exec(status())?.[1]);
  await expect.poll(tracer).toBeGreaterThan(0);
  child.kill('SIGALRM');
  await expect.poll(status).toMatch(/^State:\s+t/m);
  process.kill(tracer(), 'SIGCONT');
  expect(await ended).toEqual([0, null]);
  await expect.poll(() => said).toBe('up\nrung\n');
});

test('a thread that ends before its filters are looked at has none to tell, and is no failure', async () => {
  const { signal } = new AbortController();
  const { pid: gone = 0 } = spawnSync('true');
  const { zombie, parent } = await makeZombie();
  expect(await filtersOf(gone, signal)).toBeUndefined();
  expect(await filtersOf(zombie, signal)).toBeUndefined();
  expect(await filtersOf(parent, signal)).toEqual([]);
});

test('a look waits for the end of a process that prepares later starts, and leaves it out', async () => {
  const [level] = levelsOf(['process']);
  const file = join(made.home.path, 'prepared');
  const preparing: Level = {
    ...level!,
    async prepare(bundle, signal) {
      const prepared = await level!.prepare(bundle, signal);
      const start = (...given: Parameters<typeof prepared.start>): CommandLine => {
        const { words, env } = prepared.start(...given);
        const script = '(sleep 3; echo done > "$0") & exec "$@"';
        return { words: ['sh', '-c', script, file, ...words], env: { ...env, PATH: process.env.PATH } };
      };
      return { ...prepared, start, prepares: /^(sh -c .*|sleep 3)$/ };
    },
  };
  const [found] = await surfaceOf([preparing]);
  expect(readFileSync(file, 'utf8')).toBe('done\n');
  expect(found?.notMeasured).toEqual([]);
  expect(found?.surface?.processes.map(({ name }) => name)).not.toContain('sleep');
});
