// The deadline of a boot passes for a guest that is late, and not because its owner stood still.
import { once } from 'node:events';
import { MessageChannel } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { BootTimer } from '../../../../sandbox/run/boot-timer.js';

test('what has come in time is heard by a process that stands still beyond the deadline', async () => {
  const { port1: guest, port2: owner } = new MessageChannel();
  const hello = once(owner, 'message');
  let isLate = false;
  const onLate = () => {
    isLate = true;
  };
  const timer = new BootTimer({ own: 200, all: 60_000 }, () => 0, onLate);
  guest.postMessage('hello');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
  await hello;
  timer[Symbol.dispose]();
  expect(isLate).toBe(false);
  guest.close();
});

test('a guest that says nothing is late', async () => {
  const passed = await new Promise<number>((resolve) => {
    new BootTimer({ own: 100, all: 60_000 }, () => 0, resolve);
  });
  expect(passed).toBeGreaterThanOrEqual(100);
});
