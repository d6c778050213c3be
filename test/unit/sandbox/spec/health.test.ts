// The health check of a container is the image's as the caller has changed it, by Docker's rules.
import { describe, expect, test } from 'vitest';
import type { ImageConfig, ImageHealthcheck } from '../../../../images/types.js';
import { checkHealth, type HealthOptions, resolveHealth } from '../../../../sandbox/spec/health.js';

const NONE: ImageHealthcheck = { Test: [], Interval: 0, Timeout: 0, StartPeriod: 0, StartInterval: 0, Retries: 0 };
const DEFAULTS = { interval: 30_000, timeout: 30_000, startPeriod: 0, startInterval: 5000, retries: 3 };

function resolve(image: Partial<ImageHealthcheck> | null, health?: HealthOptions, shell: string[] = []) {
  const Healthcheck = image && { ...NONE, ...image };
  return resolveHealth({ Healthcheck, Shell: shell } as ImageConfig, health === undefined ? {} : { health });
}

test.each<[string, Partial<ImageHealthcheck> | null]>([
  ['no check', null],
  ['an empty one', {}],
  ['NONE', { Test: ['NONE'] }],
  ['a command without words', { Test: ['CMD'] }],
  ['an unknown kind', { Test: ['HTTP', '/'] }],
])('of an image with %s nothing runs, whatever the intervals', (_, image) => {
  expect(resolve(image)).toBeUndefined();
  expect(resolve(image, { interval: 5 })).toBeUndefined();
});

test("the image's times are nanoseconds, rounded up; what it lacks has Docker's default", () => {
  expect(resolve({ Test: ['CMD', 'a', 'b'], Interval: 1, Timeout: 2e9, StartPeriod: 1.5e6, Retries: 7 })).toEqual({
    ...DEFAULTS,
    ...{ test: ['CMD', 'a', 'b'], argv: ['a', 'b'], interval: 1, timeout: 2000, startPeriod: 2, retries: 7 },
  });
  expect(resolve({ Test: ['CMD', 'a'], Interval: -5e9, Retries: -1 })).toMatchObject(DEFAULTS);
});

test("a text is run by the image's shell", () => {
  const image = { Test: ['CMD-SHELL', 'a || b'] };
  expect(resolve(image)!.argv).toEqual(['/bin/sh', '-c', 'a || b']);
  expect(resolve(image, undefined, ['/bin/bash', '-ec'])!.argv).toEqual(['/bin/bash', '-ec', 'a || b']);
});

test('the caller changes a part, or gives a check to an image that has none', () => {
  const image = { Test: ['CMD', 'a'], Interval: 1e9, Timeout: 1e9 };
  expect(resolve(image, { timeout: 5, retries: 1 })).toMatchObject({
    ...{ argv: ['a'], interval: 1000, timeout: 5, retries: 1 },
  });
  expect(resolve(image, { command: 'c', interval: 0 })).toMatchObject({ argv: ['/bin/sh', '-c', 'c'], interval: 1000 });
  expect(resolve(null, { command: 'c' })).toMatchObject({ test: ['CMD-SHELL', 'c'], ...DEFAULTS });
  expect(resolve({ Test: ['NONE'] }, { command: 'c' })).toMatchObject({ test: ['CMD-SHELL', 'c'] });
});

test("without the image's command, or by the caller's wish, nothing runs", () => {
  const image = { Healthcheck: { ...NONE, Test: ['CMD', 'a'] } } as ImageConfig;
  expect(resolveHealth(image, {})).toBeDefined();
  expect(resolveHealth(image, { noHealthcheck: true })).toBeUndefined();
  expect(resolveHealth(image, { noCommand: true })).toBeUndefined();
});

describe('the options', () => {
  test.each<[Parameters<typeof checkHealth>[0], RegExp]>([
    [{ noHealthcheck: true, health: { command: 'a' } }, /conflicting options: --no-healthcheck and --health-\*/],
    [{ health: { retries: -1 } }, /invalid retries of the health check/],
    [{ health: { interval: Number.NaN } }, /invalid interval/],
  ])('%j are refused', (spec, message) => expect(() => checkHealth(spec)).toThrow(message));

  test('may be none', () => {
    checkHealth({});
    checkHealth({ noHealthcheck: true, health: {} });
    checkHealth({ health: { command: 'a', interval: 0 } });
  });
});
