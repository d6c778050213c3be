// Summaries of samples: median, percentiles, and a bootstrap interval of the median.
import { quantileSorted, sampleWithReplacement } from 'simple-statistics';

/** Resamples of the bootstrap. */
const RESAMPLES = 2000;

export interface Summary {
  median: number;
  p5: number;
  p95: number;
  /** The interval that has the median with 95 percent (percentile bootstrap). */
  interval: [low: number, high: number];
}

const sort = (samples: readonly number[]): number[] => [...samples].sort((a, b) => a - b);

/** @throws Error without samples */
export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** @param share 0 to 1. @throws Error without samples */
export function quantile(samples: readonly number[], share: number): number {
  return quantileSorted(sort(samples), share);
}

/**
 * Random numbers from 0 to 1 with a fixed start (mulberry32), so that a report gives the same
 * intervals each time it is made from the same samples.
 */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), 1 | state);
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word;
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @throws Error without samples */
export function summarize(samples: readonly number[]): Summary {
  const random = randomNumbers(1);
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(sampleWithReplacement([...samples], samples.length, random)),
  );
  return {
    median: median(samples),
    p5: quantile(samples, 0.05),
    p95: quantile(samples, 0.95),
    interval: [quantile(medians, 0.025), quantile(medians, 0.975)],
  };
}

/**
 * The interval that has the ratio of two medians.
 * @param confidence the probability that the interval has it
 * @returns undefined if the ratio has no meaning: a sample is 0
 */
export function ratioInterval(
  over: readonly number[],
  under: readonly number[],
  confidence = 0.95,
): [low: number, high: number] | undefined {
  if ([...over, ...under].some((sample) => sample <= 0)) return undefined;
  const random = randomNumbers(2);
  const pick = (samples: readonly number[]) => median(sampleWithReplacement([...samples], samples.length, random));
  const ratios = Array.from({ length: RESAMPLES }, () => pick(over) / pick(under));
  const outside = (1 - confidence) / 2;
  return [quantile(ratios, outside), quantile(ratios, 1 - outside)];
}
