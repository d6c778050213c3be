// A call ends when its caller's signal or its timeout says so, whatever it still waits for.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { limited } from '../../../sandbox/abort.js';

const never = () => new Promise<never>(() => {});

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

test('a result in time is passed on, and leaves no timer and no listener', async () => {
  const caller = new AbortController();
  const removed = vi.spyOn(caller.signal, 'removeEventListener');
  expect(await limited({ signal: caller.signal, timeout: 1000 }, async () => 7)).toBe(7);
  expect(vi.getTimerCount()).toBe(0);
  expect(removed).toHaveBeenCalled();
});

test('a timeout counts from the call, and ends what it waits for', async () => {
  let ended: AbortSignal | undefined;
  const call = limited({ timeout: 1000 }, (signal) => {
    ended = signal;
    return never();
  });
  call.catch(() => {});
  await vi.advanceTimersByTimeAsync(999);
  expect(ended?.aborted).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  await expect(call).rejects.toMatchObject({ code: 'timeout', message: 'the call took longer than 1000 ms' });
  expect(ended?.aborted).toBe(true);
});

test('a signal ends it with its own reason, also one that has aborted before', async () => {
  const caller = new AbortController();
  const call = limited({ signal: caller.signal }, never);
  caller.abort(new Error('enough'));
  await expect(call).rejects.toThrow('enough');
  const act = vi.fn(never);
  await expect(limited({ signal: caller.signal }, act)).rejects.toThrow('enough');
  expect(act).not.toHaveBeenCalled();
});

test('a timeout longer than a timer can count does not pass at once', async () => {
  const call = limited({ timeout: 2 ** 40 }, async () => {
    await new Promise((resolve) => setTimeout(resolve, 5000));
    return 'done';
  });
  await vi.advanceTimersByTimeAsync(5000);
  expect(await call).toBe('done');
});
