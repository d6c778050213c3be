// How the health of a container follows from the results of its checks, by Docker's rules.
import type { Health, HealthResult } from '../home/container-record.js';
import type { HealthCheck } from '../spec/health.js';

/** The most results that are kept, as in Docker. */
const MAX_RESULTS = 5;

/** The health of a container that has just been started. */
export const STARTING: Health = { status: 'starting', failingStreak: 0, log: [] };

/**
 * The health after one more check.
 * @param age milliseconds from the start of the container to the start of the check
 */
export function healthAfter(
  { status, failingStreak, log }: Health,
  result: HealthResult,
  { retries, startPeriod }: Pick<HealthCheck, 'retries' | 'startPeriod'>,
  age: number,
): Health {
  const results = [...log, result].slice(-MAX_RESULTS);
  if (result.exitCode === 0) return { status: 'healthy', failingStreak: 0, log: results };
  // The first success ends the start period.
  if (status === 'starting' && age < startPeriod) return { status, failingStreak, log: results };
  const streak = failingStreak + 1;
  return { status: streak >= retries ? 'unhealthy' : status, failingStreak: streak, log: results };
}

/** Milliseconds to the next check. */
export function nextInterval(
  { status }: Health,
  { interval, startPeriod, startInterval }: Pick<HealthCheck, 'interval' | 'startPeriod' | 'startInterval'>,
  age: number,
): number {
  return status === 'starting' && age < startPeriod ? startInterval : interval;
}
