// The time that a comparison may take.
import { expect, test, vi } from 'vitest';
import { Limit } from '../../../compare/limit.js';

const never = new AbortController().signal;

test('a sandbox has a seventh of the limit to start, at least 30 s and at most five minutes', () => {
  const patience = [0, 60, 390, 14 * 60, 7200, Infinity].map((seconds) => {
    using limit = new Limit(seconds * 1000, never, () => 0);
    return limit.patience / 1000;
  });
  expect(patience).toEqual([30, 30, 55.714, 120, 300, 300]);
});

test('the signal of a limit is aborted at its end, or by the caller, and a limit without end sets no timer', () => {
  vi.useFakeTimers();
  try {
    using limit = new Limit(14 * 60_000, never, () => 0);
    using endless = new Limit(Infinity, never, () => 0);
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(14 * 60_000 - 1);
    expect(limit.signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect([limit.signal.aborted, endless.signal.aborted]).toEqual([true, false]);
  } finally {
    vi.useRealTimers();
  }
  const caller = new AbortController();
  using limit = new Limit(Infinity, caller.signal, () => 0);
  caller.abort();
  expect(limit.signal.aborted).toBe(true);
});
