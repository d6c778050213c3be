// A container that a command has made is never without anybody who answers for it.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { makeAndTake } from '../../../../cli/foreground/signals.js';

const ENDING = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const;
const handled = () => ENDING.map((name) => process.listenerCount(name));

test('signals are handled until whoever takes charge has its own handlers, and not by both', async () => {
  const before = handled();
  const own = () => {};
  const seen: number[][] = [];
  const made = makeAndTake(
    async () => {
      await sleep(1);
      seen.push(handled());
      return 'made';
    },
    async (thing) => {
      seen.push(handled());
      for (const name of ENDING) process.on(name, own);
      await sleep(1);
      seen.push(handled());
      for (const name of ENDING) process.off(name, own);
      return `${thing} and taken`;
    },
  );
  expect(await made).toBe('made and taken');
  const oneMore = before.map((count) => count + 1);
  expect(seen).toEqual([oneMore, oneMore, oneMore]);
  expect(handled()).toEqual(before);
});

test('what is not made is not taken, and signals end the process again', async () => {
  const before = handled();
  const taken = () => Promise.reject(new Error('taken'));
  await expect(makeAndTake(() => Promise.reject(new Error('not made')), taken)).rejects.toThrow('not made');
  expect(handled()).toEqual(before);
});
