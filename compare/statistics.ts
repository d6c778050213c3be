// Summaries of samples, and judgements whether two lists of samples differ. Both hold for samples of any
// distribution: they look at the order of the samples alone (Conover, Practical Nonparametric
// Statistics, 1999, chapters 3.2, 3.4 and 5.4).
import { quantileSorted } from 'simple-statistics';

/** More samples than this are thinned before they are compared with each other. */
const MOST = 60;

export interface Summary {
  median: number;
  p5: number;
  p95: number;
  /** The interval that has the median with 95 percent. With fewer than `FEWEST` rounds: all medians of a round. */
  interval: [low: number, high: number];
}

/** Rounds from which an interval has the median with 95 percent. */
export const FEWEST = 6;
/** Rounds from which the pairs of two levels can show a difference with 99 percent. */
export const FEWEST_PAIRS = 8;

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
 * Returns the median of each round. What changes the host for a moment changes all samples of that
 * moment, so they count as one.
 * @param rounds of each sample. Default: each sample has a round of its own
 */
export function roundMedians(
  samples: readonly number[],
  rounds: readonly number[] = samples.map((_, index) => index),
): Map<number, number> {
  const found = new Map<number, number[]>();
  for (const [index, sample] of samples.entries()) {
    const round = rounds[index] ?? -1;
    found.set(round, [...(found.get(round) ?? []), sample]);
  }
  return new Map([...found].map(([round, each]) => [round, median(each)]));
}

/** @throws Error without samples */
export function summarize(samples: readonly number[], rounds?: readonly number[]): Summary {
  const medians = sort([...roundMedians(samples, rounds).values()]);
  const rank = Math.max(1, signRank(medians.length, 0.025));
  return {
    median: median(samples),
    p5: quantile(samples, 0.05),
    p95: quantile(samples, 0.95),
    interval: [medians.at(rank - 1) ?? Number.NaN, medians.at(-rank) ?? Number.NaN],
  };
}

/** What samples tell of the difference between two things. */
export interface Difference {
  /** 1: the first is more; -1: it is less; 0: neither is shown. */
  sign: -1 | 0 | 1;
  /** The interval that has the ratio of the first to the second. Absent if a sample is 0. */
  ratio?: [low: number, high: number];
}

/**
 * Compares samples that were taken in pairs, one of each thing in a round (sign test). What changes the
 * host from one round to another changes both.
 * @param confidence with which no difference is found if there is none
 * @returns undefined if the pairs are too few to show any difference
 */
export function comparePairs(
  pairs: readonly (readonly [over: number, under: number])[],
  confidence: number,
): Difference | undefined {
  return between(pairs, signRank(pairs.length, (1 - confidence) / 2));
}

/**
 * Compares samples that have nothing to do with each other (Mann and Whitney's test).
 * @param confidence with which no difference is found if there is none
 * @returns undefined if the samples are too few to show any difference
 */
export function compareSamples(
  over: readonly number[],
  under: readonly number[],
  confidence: number,
): Difference | undefined {
  const [one, other] = [thin(over), thin(under)];
  const pairs = one.flatMap((a) => other.map((b) => [a, b] as const));
  return between(pairs, rankSumRank(one.length, other.length, (1 - confidence) / 2));
}

function thin(samples: readonly number[]): readonly number[] {
  const step = Math.ceil(samples.length / MOST);
  return samples.filter((_, index) => index % step === 0);
}

/** @param rank of the ends of the intervals, from both ends of the sorted pairs; 0 for none */
function between(pairs: readonly (readonly [number, number])[], rank: number): Difference | undefined {
  if (rank === 0) return undefined;
  const ends = (values: readonly number[]): [number, number] => {
    const sorted = sort(values);
    return [sorted.at(rank - 1) ?? Number.NaN, sorted.at(-rank) ?? Number.NaN];
  };
  const [low, high] = ends(pairs.map(([a, b]) => a - b));
  const hasRatio = pairs.every(([a, b]) => a > 0 && b > 0);
  return {
    sign: low > 0 ? 1 : high < 0 ? -1 : 0,
    ...(hasRatio && { ratio: ends(pairs.map(([a, b]) => a / b)) }),
  };
}

/** The rank of the last value whose sum of probabilities is within a share: 0 if not even the first is. */
function rankWithin(probabilities: Iterable<number>, outside: number): number {
  let [rank, sum] = [0, 0];
  for (const probability of probabilities) {
    sum += probability;
    if (sum > outside) break;
    rank++;
  }
  return rank;
}

/** Of the binomial distribution of `count` coins. */
function signRank(count: number, outside: number): number {
  function* probabilities() {
    let logarithm = -count * Math.LN2;
    for (let heads = 0; heads < count; heads++) {
      yield Math.exp(logarithm);
      logarithm += Math.log((count - heads) / (heads + 1));
    }
  }
  return rankWithin(probabilities(), outside);
}

/**
 * Of the distribution of Mann and Whitney's U: for each value, the number of orders of both lists in
 * which so many pairs have the first above the second.
 */
function rankSumRank(over: number, under: number, outside: number): number {
  const size = Math.floor((over * under) / 2) + 1;
  // For lists of `taken` and `index`: the last of both is one of the first list, or one of the second.
  const orders = Array.from({ length: under + 1 }, () => new Float64Array(size));
  for (const each of orders) each[0] = 1;
  for (let taken = 1; taken <= over; taken++) {
    for (let index = 1; index <= under; index++) {
      const [ways, fewer] = [orders[index], orders[index - 1]];
      if (ways === undefined || fewer === undefined) continue;
      for (let value = size - 1; value >= 0; value--) {
        ways[value] = (ways[value - index] ?? 0) + (fewer[value] ?? 0);
      }
    }
  }
  const ways = orders[under] ?? new Float64Array();
  let all = 1;
  for (let index = 1; index <= under; index++) all *= (over + index) / index;
  return rankWithin(
    Array.from(ways, (way) => way / all),
    outside,
  );
}
