// What the call `events` asks for.
import { z } from 'zod';
import { OciError } from './oci-error.js';

const request = z.object({
  /** True: the statistics of this moment, and no more. */
  stats: z.boolean(),
  /** A duration as Go writes it: `5s`, `1m30s`. */
  interval: z.string().optional(),
});

const MILLISECONDS: Partial<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const DEFAULT_INTERVAL = 5000;
/** Milliseconds: a guest is not asked more often, and no timer is longer. */
const INTERVALS = { least: 100, most: 2 ** 31 - 1 };

export interface EventsRequest {
  stats: boolean;
  /** Milliseconds between statistics. */
  interval: number;
}

/**
 * @param text what the command `tsvm-oci` sent, JSON
 * @throws OciError
 */
export function readEvents(text: string): EventsRequest {
  const { stats, interval } = request.parse(JSON.parse(text));
  return { stats, interval: interval === undefined ? DEFAULT_INTERVAL : duration(interval) };
}

function duration(text: string): number {
  const isDuration = /^(?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h))+$/.test(text);
  const parts = isDuration ? [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)] : [];
  const sum = parts.reduce((total, [, count, unit = '']) => total + Number(count) * (MILLISECONDS[unit] ?? 0), 0);
  if (!(sum > 0)) throw new OciError(`events: --interval ${text}: use a duration above 0, as 5s`);
  return Math.min(Math.max(sum, INTERVALS.least), INTERVALS.most);
}
