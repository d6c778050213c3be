// The order of measuring: all levels in each round, each of them first in turn.
import { expect, test } from 'vitest';
import { orderOf } from '../../../compare/schedule.js';

test('each round has all levels, and begins with the next one', () => {
  expect([0, 1, 2, 3].map((round) => orderOf(['a', 'b', 'c'], round).join(''))).toEqual(['abc', 'bca', 'cab', 'abc']);
});

test('no levels have no order', () => {
  expect(orderOf([], 3)).toEqual([]);
});
