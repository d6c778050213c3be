// What a guest may cause others to say is read at a pace, and all of it arrives.
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PACE, pace } from '../../../sandbox/paced.js';

const CHUNK = 50_000;

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

/** Reads a stream that always has more. Returns how many bytes it has read. */
function flooded(): () => number {
  let bytes = 0;
  const stream = new Readable({
    read() {
      this.push(Buffer.alloc(CHUNK));
    },
  });
  pace(stream);
  stream.on('data', (chunk) => (bytes += chunk.length));
  return () => bytes;
}

test('a flood is read at the pace, after a burst of one second', async () => {
  const bytes = flooded();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(bytes()).toBeGreaterThan(10 * PACE);
  expect(bytes()).toBeLessThanOrEqual(11 * PACE + CHUNK);
});

test('what is said at once below the burst comes at once', async () => {
  let bytes = 0;
  const stream = Readable.from(Array.from({ length: 10 }, () => Buffer.alloc(CHUNK)));
  pace(stream);
  stream.on('data', (chunk) => (bytes += chunk.length));
  await vi.advanceTimersByTimeAsync(0);
  await new Promise(setImmediate);
  expect(bytes).toBe(10 * CHUNK);
});
