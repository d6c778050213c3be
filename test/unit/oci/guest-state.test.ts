// Proves what a guest is asked after a change that failed, and in which order.
import { expect, onTestFinished, test, vi } from 'vitest';
import { GuestState } from '../../../oci/keeper/guest-state.js';
import { defer } from '../../../sandbox/deferred.js';
import { SandboxError } from '../../../sandbox/errors.js';

const LATE = new SandboxError('unresponsive', 'late');
const REFUSED = new SandboxError('tool', 'refused');
const OLD = 'limit memory.max max pids.max 50 cpu.max max 100000';

/** A guest that fails with each of `failures` in turn, and then with none. */
function guest(...failures: SandboxError[]) {
  const asked: string[] = [];
  const ends: (() => void)[] = [];
  const state = new GuestState(
    async (argv, onFailed) => {
      asked.push(argv.join(' '));
      const failure = failures.shift();
      if (failure === undefined) return;
      const { promise, resolve } = defer<void>();
      ends.push(() => resolve());
      onFailed(promise);
      throw failure;
    },
    { pids: 50 },
  );
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  /** The tool that failed last does nothing any more. */
  const end = async () => {
    ends.pop()?.();
    await vi.advanceTimersByTimeAsync(1000);
  };
  return { state, asked, end };
}

test.each([LATE, REFUSED])('an update that fails leaves the limits of before: %s', async (failure) => {
  const { state, asked, end } = guest(failure);
  await expect(state.inTurn(() => state.update({ pids: 60, memory: 4096 }))).rejects.toBe(failure);
  expect(asked).toEqual(['limit memory.max 4096 pids.max 60 cpu.max max 100000']);
  expect(state.limits).toEqual({ pids: 50 });
  // Limits keep no process from its start.
  expect(state.checkStart()).toBeUndefined();
  await end();
  expect(asked.slice(1)).toEqual([OLD]);
  expect(state.checkStart()).toBeUndefined();
});

test('an update that comes before the end of one that failed is what the guest has in the end', async () => {
  const { state, asked, end } = guest(LATE);
  await expect(state.inTurn(() => state.update({ pids: 60 }))).rejects.toBe(LATE);
  await state.inTurn(() => state.update({ pids: 70 }));
  await end();
  expect(asked.slice(1)).toEqual(Array(2).fill('limit memory.max max pids.max 70 cpu.max max 100000'));
});

test('a guest that is late again is asked again once it has answered', async () => {
  const { state, asked, end } = guest(LATE, LATE, LATE);
  await expect(state.inTurn(() => state.pause([]))).rejects.toBe(LATE);
  await end();
  expect(asked).toEqual(['freeze', 'thaw']);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toEqual(['freeze', 'thaw']);
  expect(() => state.checkStart()).toThrow('the guest has not answered an earlier request yet');
  await end();
  await end();
  expect(asked).toEqual(['freeze', 'thaw', 'thaw', 'thaw']);
  expect(state.checkStart()).toBeUndefined();
});

test('a guest that cannot be brought back is not asked for ever', async () => {
  const { state, asked, end } = guest(REFUSED, REFUSED);
  await expect(state.inTurn(() => state.pause([]))).rejects.toBe(REFUSED);
  await end();
  await end();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toEqual(['freeze', 'thaw']);
});

test('a container that is paused between is not thawed', async () => {
  const { state, asked, end } = guest(LATE);
  await expect(state.inTurn(() => state.pause([]))).rejects.toBe(LATE);
  await state.inTurn(() => state.pause([]));
  await end();
  expect(asked).toEqual(['freeze', 'freeze', 'freeze']);
  expect(state.isPaused).toBe(true);
});
