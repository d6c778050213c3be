// The order of measuring: all levels in each round, none of them favoured by its place or by what ran
// before it.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { orderOf } from '../../../compare/schedule.js';

const rounds = (levels: string, count: number) =>
  Array.from({ length: count }, (_, round) => orderOf([...levels], round).join(''));

test('each round has all levels in an order of its own', () => {
  expect(rounds('ab', 3)).toEqual(['ab', 'ba', 'ab']);
  expect(rounds('abc', 6)).toEqual(['abc', 'cba', 'bca', 'acb', 'cab', 'bac']);
  expect(rounds('abcd', 4)).toEqual(['abdc', 'bcad', 'cdba', 'dacb']);
});

test('over a full turn each level is at each place, and after each other one, equally often', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.nat({ max: 100 }), (count, from) => {
      const levels = Array.from({ length: count }, (_, index) => index);
      const turn = count % 2 === 0 ? count : 2 * count;
      const [places, pairs] = [new Map<string, number>(), new Map<string, number>()];
      const add = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1);
      for (let round = from; round < from + turn; round++) {
        for (const [place, level] of orderOf(levels, round).entries()) {
          add(places, `${place} ${level}`);
          if (place > 0) add(pairs, `${orderOf(levels, round)[place - 1]} ${level}`);
        }
      }
      expect([places.size, ...new Set(places.values())]).toEqual([count * count, turn / count]);
      if (count > 1) expect([pairs.size, ...new Set(pairs.values())]).toEqual([count * (count - 1), turn / count]);
    }),
  );
});

test('no levels have no order', () => {
  expect(orderOf([], 3)).toEqual([]);
});
