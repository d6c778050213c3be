// The health of a container follows from the results of its checks as Docker documents it. A
// property compares it with a model that counts over the whole history.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Health, HealthResult } from '../../../../sandbox/home/container-record.js';
import { healthAfter, nextInterval, STARTING } from '../../../../sandbox/supervision/health-state.js';
import { fuzzing } from '../../../fixtures/fuzz.js';

/** A result of a check that began `age` milliseconds after the start. */
interface Checked {
  exitCode: number;
  age: number;
}

const resultOf = ({ exitCode, age }: Checked): HealthResult => ({
  ...{ start: new Date(age).toISOString(), end: new Date(age + 1).toISOString() },
  ...{ exitCode, output: String(age) },
});

function after(checks: readonly Checked[], retries: number, startPeriod: number): Health {
  return checks.reduce(
    (health, check) => healthAfter(health, resultOf(check), { retries, startPeriod }, check.age),
    STARTING,
  );
}

/** From the whole history at once: what counts are failures since the last success that are not forgiven. */
function model(checks: readonly Checked[], retries: number, startPeriod: number): Omit<Health, 'log'> {
  const failed = checks.map(({ exitCode }) => exitCode !== 0);
  const last = failed.lastIndexOf(false);
  // Failures are forgiven until the first one counts, or a check succeeds.
  const counted = failed.map(
    (isFailure, index) => isFailure && (failed.slice(0, index).includes(false) || checks[index]!.age >= startPeriod),
  );
  const streakAt = (index: number) =>
    counted.slice(failed.lastIndexOf(false, index) + 1, index + 1).filter(Boolean).length;
  const failingStreak = checks.length === 0 ? 0 : streakAt(checks.length - 1);
  const fell = checks.some((_, index) => index > last && streakAt(index) >= retries);
  return { status: fell ? 'unhealthy' : last >= 0 ? 'healthy' : 'starting', failingStreak };
}

test('a property: status and streak are those of the whole history, and the log has its last five results', () => {
  const checked = fc.record({ exitCode: fc.constantFrom(0, 1, 2, 137, -1), gap: fc.integer({ min: 0, max: 50 }) });
  fc.assert(
    fc.property(
      fc.array(checked, { maxLength: 20 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 0, max: 300 }),
      (steps, retries, startPeriod) => {
        let age = 0;
        const checks = steps.map(({ exitCode, gap }) => {
          age += gap;
          return { exitCode, age };
        });
        const { log, ...health } = after(checks, retries, startPeriod);
        expect(health).toEqual(model(checks, retries, startPeriod));
        expect(log).toEqual(checks.slice(-5).map(resultOf));
      },
    ),
    fuzzing(2000),
  );
});

test('failures within the start period do not count, and the first success ends it', () => {
  const [early, late] = [10, 100];
  const failed = (age: number) => ({ exitCode: 1, age });
  expect(after([failed(early), failed(early)], 1, 50)).toMatchObject({ status: 'starting', failingStreak: 0 });
  expect(after([failed(early), failed(late)], 1, 50)).toMatchObject({ status: 'unhealthy', failingStreak: 1 });
  const good = { exitCode: 0, age: early };
  expect(after([good, failed(early)], 1, 50)).toMatchObject({ status: 'unhealthy', failingStreak: 1 });
});

test('the start interval holds in the start period until the first success', () => {
  const check = { interval: 30, startPeriod: 100, startInterval: 5 };
  expect(nextInterval(STARTING, check, 99)).toBe(5);
  expect(nextInterval(STARTING, check, 100)).toBe(30);
  expect(nextInterval({ ...STARTING, status: 'healthy' }, check, 0)).toBe(30);
  expect(nextInterval(STARTING, { ...check, startPeriod: 0 }, 0)).toBe(30);
});
