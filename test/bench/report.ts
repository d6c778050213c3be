// Results in a readable form.
import type { BenchmarkResult, Measurement } from './measurement.js';

const DIGITS: Record<Measurement['unit'], number> = { ms: 1, us: 1, MiB: 1, 'MiB/s': 0, '1/s': 0, ratio: 2, count: 0 };

function number({ unit }: Measurement, value: number): string {
  return value.toFixed(DIGITS[unit]);
}

function suffix({ unit }: Measurement): string {
  if (unit === 'count') return '';
  return unit === 'ratio' ? 'x' : ` ${unit}`;
}

function miss(measurement: Measurement): string {
  const { value, goal } = measurement;
  return goal === undefined || value <= goal ? '' : `  ABOVE ${number(measurement, goal)}`;
}

/** Returns the table of one benchmark: the median and the range of the samples of each quantity. */
export function formatResult({ title, measurements, failure }: BenchmarkResult): string {
  if (failure !== undefined) return `${title}\n  failed: ${failure}\n`;
  const width = Math.max(...measurements.map(({ name }) => name.length));
  const lines = measurements.map((measurement) => {
    const { name, value, samples } = measurement;
    const median = `${number(measurement, value)}${suffix(measurement)}`.padStart(12);
    const [least, most] = [Math.min(...samples), Math.max(...samples)];
    const range = samples.length > 1 ? `  ${number(measurement, least)} to ${number(measurement, most)}` : '';
    return `  ${name.padEnd(width)} ${median}${range}${miss(measurement)}`;
  });
  return `${title}\n${lines.join('\n')}\n`;
}
