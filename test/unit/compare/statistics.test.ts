// Summaries of samples: known answers, and that a level compared with itself differs from itself no
// more often than the interval says.
import { expect, test } from 'vitest';
import { quantile, ratioInterval, summarize } from '../../../compare/statistics.js';
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

test('of 20 comparisons of a level with itself, at most one finds a difference; one of 30 % is always found', () => {
  const numbers = new Random(14);
  const random = () => numbers.fraction();
  // Times have a long tail.
  const samples = () => Array.from({ length: 20 }, () => 10 + random() + (random() < 0.1 ? 20 * random() : 0));
  const differs = ([low, high]: [number, number] = [1, 1]) => low > 1 || high < 1;
  const same = Array.from({ length: 20 }, () => ratioInterval(samples(), samples()));
  expect(same.filter(differs).length).toBeLessThanOrEqual(1);
  const other = Array.from({ length: 20 }, () =>
    ratioInterval(
      samples().map((value) => 1.3 * value),
      samples(),
    ),
  );
  expect(other.filter(differs).length).toBe(20);
});
