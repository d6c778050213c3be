// The results of benchmarks: samples of named quantities.
import { median, quantile } from '../../compare/statistics.js';

export { median };

export interface Measurement {
  name: string;
  unit: 'ms' | 'us' | 'MiB' | 'MiB/s' | '1/s' | 'ratio' | 'count';
  /** The median of the samples. */
  value: number;
  samples: number[];
  /** The value that is the goal, at most. */
  goal?: number;
}

export interface BenchmarkResult {
  title: string;
  measurements: Measurement[];
  /** The error, if the benchmark failed. */
  failure?: string;
}

export interface BenchmarkOptions {
  /** How often each thing is measured. */
  runs: number;
  /** The image to run. It needs a shell and coreutils. */
  image: string;
  /** Part of the sizes that are measured, for a try of a benchmark: 1 is all. */
  scale: number;
}

/** One question and the measurements that answer it. */
export interface Benchmark {
  name: string;
  title: string;
  /** True if the benchmark needs a KVM that can run a stock kernel. */
  needsKvm: boolean;
  measure(options: BenchmarkOptions): Promise<Measurement[]>;
}

/** Returns a value that a benchmark needs. @throws Error that names the value if it is missing */
export function need<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Error(`the benchmark has no ${name}`);
  return value;
}

/** Returns the value that `percent` of all samples do not exceed. */
export function percentile(samples: readonly number[], percent: number): number {
  return quantile(samples, percent / 100);
}

export function measurement(name: string, unit: Measurement['unit'], samples: readonly number[]): Measurement {
  return { name, unit, value: median(samples), samples: [...samples] };
}

/** Returns the ratio of the medians of two measurements. @throws Error if one is missing */
export function ratio(name: string, over: Measurement | undefined, under: Measurement | undefined): Measurement {
  return measurement(name, 'ratio', [need(over, name).value / need(under, name).value]);
}

/** Samples by name, in the order in which the names were first added. */
export class Samples {
  readonly #samples = new Map<string, { unit: Measurement['unit']; values: number[] }>();

  add(name: string, unit: Measurement['unit'], value: number): void {
    const entry = this.#samples.get(name);
    if (entry === undefined) this.#samples.set(name, { unit, values: [value] });
    else entry.values.push(value);
  }

  measurements(): Measurement[] {
    return [...this.#samples].map(([name, { unit, values }]) => measurement(name, unit, values));
  }
}
