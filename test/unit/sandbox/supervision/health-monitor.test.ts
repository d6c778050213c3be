// Checks of a container's health follow each other at their intervals, never overlap, end at their
// timeouts whatever the guest does, and stand still while the container is paused or saved. The
// clock is a fake one, and the guest is this test.
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ExitedFrame, ProcessSpec } from '../../../../sandbox/agent/protocol.js';
import { defer } from '../../../../sandbox/deferred.js';
import { SandboxError } from '../../../../sandbox/errors.js';
import type { Health } from '../../../../sandbox/home/container-record.js';
import { HealthMonitor } from '../../../../sandbox/supervision/health-monitor.js';
import type { Prober } from '../../../../sandbox/supervision/health-probe.js';
import { STARTING } from '../../../../sandbox/supervision/health-state.js';
import { containerConfig } from '../home/containers.js';

const CHECK = {
  ...{ test: ['CMD', 'check'], argv: ['check'], interval: 1000, timeout: 500 },
  ...{ startPeriod: 0, startInterval: 100, retries: 2 },
};

/** A process of a check, as the guest has it. */
interface Started {
  spec: ProcessSpec;
  stdout: PassThrough;
  stderr: PassThrough;
  isKilled: boolean;
  exit(code: number): void;
  /** Its machine ends. */
  lose(): void;
}

let monitor: HealthMonitor | undefined;
let started: Started[];
let found: Health[];
/** What starts fail with. */
let refusal: Error | undefined;
/** If true, a killed process does not end. */
let isImmortal: boolean;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
  [started, found, refusal, isImmortal] = [[], [], undefined, false];
});

afterEach(() => {
  monitor?.[Symbol.dispose]();
  vi.useRealTimers();
});

const guest: Prober = {
  async exec(spec, takeStreams) {
    if (refusal !== undefined) throw refusal;
    const exited = defer<ExitedFrame>();
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const end = (how: { code: number } | { signal: number }) => {
      for (const stream of [stdout, stderr]) stream.end();
      exited.resolve({ type: 'exited', process: spec.id, container: 1, ...how });
    };
    const process: Started = {
      ...{ spec, stdout, stderr, isKilled: false },
      exit: (code) => end({ code }),
      lose: () => exited.reject(new SandboxError('machine-died', 'gone')),
    };
    started.push(process);
    takeStreams({ stream: async (name) => ({ stdout, stderr })[name as 'stdout'] as never });
    return {
      exited: exited.promise,
      killGroup: () => {
        process.isKilled = true;
        if (!isImmortal) end({ signal: 9 });
      },
    };
  },
};

function begin(check: Partial<typeof CHECK> = {}, health: Health = STARTING, age = 0): HealthMonitor {
  const config = { ...containerConfig(), env: ['A=b'], cwd: '/srv', user: 'joe' };
  monitor = new HealthMonitor(guest, config, {
    ...{ check: { ...CHECK, ...check }, health, age },
    onHealth: (now) => found.push(now),
  });
  return monitor;
}

/** Lets so many milliseconds pass, and what is to be read be read. */
async function pass(milliseconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(milliseconds);
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}

const statuses = () => found.map(({ status, failingStreak }) => `${status} ${failingStreak}`);

test('a check runs as the container does, after each interval, and the next one after its end', async () => {
  begin();
  await pass(999);
  expect(started).toHaveLength(0);
  await pass(1);
  expect(started[0]!.spec).toMatchObject({ argv: ['check'], env: ['A=b'], cwd: '/srv', user: 'joe' });
  expect(Object.keys(started[0]!.spec).sort()).toEqual(['argv', 'cwd', 'env', 'id', 'user']);
  await pass(400);
  started[0]!.exit(0);
  await pass(999);
  expect(started).toHaveLength(1);
  await pass(1);
  started[1]!.exit(1);
  await pass(1000);
  started[2]!.exit(3);
  await pass(0);
  expect(statuses()).toEqual(['healthy 0', 'healthy 1', 'unhealthy 2']);
  expect(found.at(-1)!.log.map(({ exitCode }) => exitCode)).toEqual([0, 1, 3]);
});

test('the start interval holds in the start period', async () => {
  begin({ startPeriod: 250, startInterval: 100 });
  for (let count = 0; count < 2; count++) {
    await pass(100);
    started[count]!.exit(1);
    await pass(0);
  }
  await pass(100);
  started[2]!.exit(1);
  await pass(999);
  expect(started).toHaveLength(3);
  expect(statuses()).toEqual(['starting 0', 'starting 0', 'starting 1']);
});

test('a container that continues keeps its health, and its start period goes on', async () => {
  begin({ startPeriod: 5000 }, { status: 'starting', failingStreak: 1, log: [] }, 4999);
  await pass(100);
  started[0]!.exit(1);
  await pass(0);
  expect(statuses()).toEqual(['unhealthy 2']);
});

describe('a check that takes too long', () => {
  test('is killed with its group, and fails with what it has said', async () => {
    begin();
    await pass(1000);
    started[0]!.stdout.write('so far');
    await pass(499);
    expect(started[0]!.isKilled).toBe(false);
    await pass(1);
    expect(started[0]!.isKilled).toBe(true);
    expect(found.at(-1)).toMatchObject({
      failingStreak: 1,
      log: [{ exitCode: -1, output: 'Health check exceeded timeout (0.5s): so far' }],
    });
  });

  test('and whose end is never told is not joined by a second one', async () => {
    isImmortal = true;
    begin();
    await pass(1500);
    expect(found).toHaveLength(0);
    await pass(30_000);
    expect(statuses()).toEqual(['starting 1']);
    await pass(1000);
    expect(statuses()).toEqual(['starting 1', 'unhealthy 2']);
    await pass(3000);
    expect(started).toHaveLength(1);
    started[0]!.exit(0);
    await pass(1000);
    expect(started).toHaveLength(2);
  });

  test('has the end of its process alone in time: its code counts, and its output is cut off', async () => {
    begin();
    await pass(1000);
    const [{ stdout, spec }] = started as [Started];
    stdout.write('x');
    // A process in the background keeps the stream.
    stdout.end = () => stdout;
    started[0]!.exit(0);
    await pass(499);
    expect(found).toHaveLength(0);
    await pass(1);
    expect(found).toMatchObject([{ status: 'healthy', log: [{ exitCode: 0, output: 'x' }] }]);
    expect(stdout.destroyed).toBe(true);
    expect(spec.argv).toEqual(['check']);
  });
});

test('of a flood of output 4096 bytes are kept, of stdout and stderr together, and all is read', async () => {
  begin();
  await pass(1000);
  const { stdout, stderr } = started[0]!;
  stdout.write('a'.repeat(4000));
  await pass(0);
  stderr.write('b'.repeat(1_000_000));
  await pass(0);
  for (let count = 0; count < 100; count++) stdout.write(Buffer.alloc(100_000));
  await pass(0);
  expect(stdout.readableLength + stdout.writableLength).toBe(0);
  started[0]!.exit(0);
  await pass(0);
  expect(found[0]!.log[0]!.output).toBe(`${'a'.repeat(4000)}${'b'.repeat(96)}...`);
});

test('a check that cannot be started fails; one of a container that ends does not count', async () => {
  refusal = new SandboxError('not-found', 'exec: check: not found');
  begin();
  await pass(1000);
  expect(found).toMatchObject([{ failingStreak: 1, log: [{ exitCode: -1, output: 'exec: check: not found' }] }]);
  refusal = new SandboxError('not-running', 'the container is not running');
  await pass(2000);
  refusal = undefined;
  await pass(1000);
  started[0]!.lose();
  await pass(0);
  expect(found).toHaveLength(1);
});

describe('a pause', () => {
  test('stops the interval, which begins again', async () => {
    const own = begin();
    await pass(900);
    own.hold(true);
    await pass(100_000);
    expect(started).toHaveLength(0);
    own.hold(false);
    await pass(999);
    expect(started).toHaveLength(0);
    await pass(1);
    expect(started).toHaveLength(1);
  });

  test('stops the timeout of a check, which begins again', async () => {
    const own = begin();
    await pass(1400);
    own.hold(true);
    await pass(100_000);
    own.hold(false);
    await pass(499);
    expect(started[0]!.isKilled).toBe(false);
    await pass(1);
    expect(started[0]!.isKilled).toBe(true);
  });

  test('in which a check ends begins no other', async () => {
    const own = begin();
    await pass(1100);
    own.hold(true);
    started[0]!.exit(0);
    await pass(5000);
    expect(statuses()).toEqual(['healthy 0']);
    expect(started).toHaveLength(1);
    own.hold(false);
    await pass(1000);
    expect(started).toHaveLength(2);
  });
});

test('a save waits for the end of a check that it kills, which has no result, and holds the next one', async () => {
  const own = begin();
  await pass(1000);
  isImmortal = true;
  const done = defer<void>();
  const act = vi.fn(() => done.promise);
  const saved = own.without(act);
  await pass(0);
  expect(started[0]!.isKilled).toBe(true);
  expect(act).not.toHaveBeenCalled();
  started[0]!.exit(0);
  await pass(0);
  expect(act).toHaveBeenCalled();
  await pass(5000);
  expect([started.length, found.length]).toEqual([1, 0]);
  done.resolve();
  await saved;
  await pass(1000);
  expect(started).toHaveLength(2);
});

test('a guest that does not let a check end keeps no save waiting', async () => {
  const own = begin();
  isImmortal = true;
  await pass(1000);
  const saved = own.without(async () => 'saved');
  await pass(30_000);
  expect(await saved).toBe('saved');
});

test('a paused guest, which ends no check, keeps no roll back waiting, and its check has no result', async () => {
  const own = begin();
  await pass(1000);
  isImmortal = true;
  own.hold(true);
  const act = vi.fn(async () => {});
  const rolledBack = own.without(act);
  await pass(100_000);
  expect(act).toHaveBeenCalled();
  await rolledBack;
  // It has not been rolled back, and goes on.
  own.hold(false);
  started[0]!.exit(0);
  await pass(1000);
  expect([started.length, found.length]).toEqual([2, 0]);
});

test('the end of the monitor kills a check, and leaves no timer', async () => {
  begin();
  await pass(1000);
  monitor![Symbol.dispose]();
  await pass(0);
  expect(started[0]!.isKilled).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
  await pass(10_000);
  expect([started.length, found.length]).toEqual([1, 0]);
});
