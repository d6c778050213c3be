// Proves that numbers are drawn from a whole range and no further, and bytes from the kernel.
import { expect, test } from 'vitest';
import { randomBytesOfKernel, randomNumber } from '../../../sandbox/random-number.js';

test('numbers are all those of the range', () => {
  const drawn = new Set(Array.from({ length: 500 }, () => randomNumber(3, 8)));
  expect([...drawn].sort()).toEqual([3, 4, 5, 6, 7]);
});

test('numbers of a large range differ, and use its upper half', () => {
  const drawn = Array.from({ length: 100 }, () => randomNumber(1, 2 ** 32));
  expect(new Set(drawn).size).toBeGreaterThan(95);
  expect(Math.max(...drawn)).toBeGreaterThan(2 ** 31);
  expect(drawn.every((number) => Number.isInteger(number) && number >= 1 && number < 2 ** 32)).toBe(true);
});

test('bytes are as many as asked for, and others each time', () => {
  expect(randomBytesOfKernel(64)).toHaveLength(64);
  expect(randomBytesOfKernel(64)).not.toEqual(randomBytesOfKernel(64));
});
