// Summaries of samples: known answers, and that a level compared with itself differs from itself no
// more often than the interval says.
import { expect, test } from 'vitest';
import { comparePairs, compareSamples, quantile, roundMedians, summarize } from '../../../compare/statistics.js';
import { Random } from '../../fixtures/random.js';

test('the median and the percentiles are those of the samples', () => {
  const samples = Array.from({ length: 101 }, (_, index) => 100 - index);
  const { median, p5, p95, interval } = summarize(samples);
  expect({ median, p5, p95 }).toEqual({ median: 50, p5: 5, p95: 95 });
  expect(interval[0]).toBeLessThan(50);
  expect(interval[1]).toBeGreaterThan(50);
  expect(quantile([3, 1, 2, 10], 0.5)).toBe(2.5);
});

test('an outlier is kept: it moves the 95th percentile, and leaves the median', () => {
  const quiet = summarize([10, 10, 10, 10, 10, 10, 10, 10, 10, 10]);
  const disturbed = summarize([10, 10, 10, 10, 10, 10, 10, 10, 10, 1000]);
  expect(disturbed.median).toBe(quiet.median);
  expect(disturbed.p95).toBeGreaterThan(quiet.p95);
});

test('the same samples give the same interval', () => {
  expect(summarize([1, 5, 2, 8, 3])).toEqual(summarize([1, 5, 2, 8, 3]));
});

test('one sample has an interval of no width', () => {
  expect(summarize([7])).toEqual({ median: 7, p5: 7, p95: 7, interval: [7, 7] });
});

/** Times have a long tail. */
const long = (random: () => number) => 10 + random() + (random() < 0.1 ? 20 * random() : 0);
const seeded = () => {
  const numbers = new Random(14);
  return () => numbers.fraction();
};
const times = (count: number, value: () => number) => Array.from({ length: count }, value);

test.each([6, 8, 10, 20])('the interval of %i samples misses the median no more often than in 5 of 100', (count) => {
  const random = seeded();
  const truth = quantile(
    times(100_001, () => long(random)),
    0.5,
  );
  const intervals = times(2000, () => 0).map(() => summarize(times(count, () => long(random))).interval);
  const missed = intervals.filter(([low, high]) => truth < low || truth > high).length;
  // 5 percent of 2000, and three times the standard deviation of that count.
  expect(missed).toBeLessThanOrEqual(100 + 3 * Math.sqrt(2000 * 0.05 * 0.95));
});

test.each([
  [8, 'by pairs'],
  [10, 'by pairs'],
  [20, 'by pairs'],
  [5, 'of two runs'],
  [10, 'of two runs'],
  [20, 'of two runs'],
])(
  'of 1000 comparisons of a level with itself, %i rounds %s, no more than 1 of 100 finds a difference',
  (count, how) => {
    const random = seeded();
    const any = () => times(count, () => long(random));
    const differ = times(1000, () => 0).filter(() => {
      const [one, other] = [any(), any()];
      const pairs = one.map((value, index) => [value, other[index]!] as const);
      return (how === 'by pairs' ? comparePairs(pairs, 0.99) : compareSamples(one, other, 0.99))?.sign !== 0;
    });
    expect(differ.length).toBeLessThanOrEqual(10 + 3 * Math.sqrt(10));
  },
);

test('a host that gets slower during the rounds makes no difference between two levels that alternate', () => {
  const random = seeded();
  const differ = times(1000, () => 0).filter(() => {
    let speed = 1;
    const pairs = Array.from({ length: 10 }, (_, round) => {
      speed *= 1 + random();
      const [first, second] = [speed * long(random), speed * 1.02 * long(random)];
      return round % 2 === 0 ? ([first, second] as const) : ([second, first] as const);
    });
    return comparePairs(pairs, 0.99)?.sign !== 0;
  });
  expect(differ.length).toBeLessThanOrEqual(10 + 3 * Math.sqrt(10));
});

test('30 % more is found by both in 20 rounds, and the ratio is in its interval', () => {
  const random = seeded();
  for (let turn = 0; turn < 20; turn++) {
    const [one, other] = [times(20, () => 1.3 * (10 + random())), times(20, () => 10 + random())];
    const found = [
      comparePairs(
        one.map((value, index) => [value, other[index]!]),
        0.99,
      ),
      compareSamples(one, other, 0.99),
    ];
    for (const each of found) {
      expect(each?.sign).toBe(1);
      expect(each?.ratio?.[0]).toBeLessThan(1.3);
      expect(each?.ratio?.[1]).toBeGreaterThan(1.3);
    }
  }
});

test('too few rounds show nothing, and the fewest that do are those of the tables', () => {
  const apart = (count: number) => [times(count, () => 9), times(count, () => 1)] as const;
  const pairs = (count: number) => times(count, () => 0).map(() => [9, 1] as const);
  // 2 / 2^8 and 2 / (10 over 5) are the first below 1 percent.
  expect([comparePairs(pairs(7), 0.99), comparePairs(pairs(8), 0.99)?.sign]).toEqual([undefined, 1]);
  expect([compareSamples(...apart(4), 0.99), compareSamples(...apart(5), 0.99)?.sign]).toEqual([undefined, 1]);
  // For lists of 8 and 10, the tables have 11 as the last U that shows a difference.
  const ten = Array.from({ length: 10 }, (_, index) => index);
  const eight = (one: number) => [-1, one, ...times(6, () => 100)];
  expect([compareSamples(eight(8.5), ten, 0.99)?.sign, compareSamples(eight(7.5), ten, 0.99)?.sign]).toEqual([1, 0]);
  expect(compareSamples([1, 2], [3, 4], 0.5)?.ratio).toEqual([1 / 4, 2 / 3]);
});

test('samples of one round count as one', () => {
  const rounds = times(20, () => 0).map((_, index) => index % 2);
  const samples = rounds.map((round) => (round === 0 ? 10 : 20));
  expect(summarize(samples, rounds).interval).toEqual([10, 20]);
  expect(roundMedians([1, 2, 9, 5], [0, 0, 0, 1])).toEqual(
    new Map([
      [0, 2],
      [1, 5],
    ]),
  );
});

test('what is nothing at one and something at the other has a difference, and no ratio', () => {
  const pairs = times(10, () => 0).map(() => [4, 0] as const);
  expect(comparePairs(pairs, 0.99)).toEqual({ sign: 1 });
  expect(
    comparePairs(
      times(10, () => 0).map(() => [0, 0] as const),
      0.99,
    ),
  ).toEqual({ sign: 0 });
});
