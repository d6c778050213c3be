// Proves that the log of a container in the background takes bytes at a bounded rate, whatever the
// pieces that its guest writes, and that both of its output streams wait for it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LogWriter } from '../../../../sandbox/home/log-file.js';
import { LogRate, OutputFanOut } from '../../../../sandbox/supervision/output-fan-out.js';

const SECONDS = 3;
/** Bytes that a log takes in a second, and at once. */
const RATE = 10_000_000;
const BURST = 1_000_000;
/** Chunks of any size count at least as these. */
const CHUNK = 1024;

let folder: string;
let log: LogWriter;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  log = new LogWriter(join(folder, 'log.json'));
  vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
  log[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

test.each([
  ['short lines', Buffer.from('y\n'.repeat(32_768))],
  ['no lines', Buffer.alloc(65_536, 'x')],
  ['control characters', Buffer.alloc(65_536, 1)],
  ['single bytes', Buffer.from('x')],
])('a storm of %s is logged at a bounded rate', async (_, chunk) => {
  const rate = new LogRate();
  const outputs = [new OutputFanOut('stdout', { log, rate }), new OutputFanOut('stderr', { log, rate })];
  const write = vi.spyOn(log, 'write');
  for (const output of outputs) {
    const next = () => output.write(chunk, next);
    next();
  }
  await vi.advanceTimersByTimeAsync(SECONDS * 1000);
  const taken = write.mock.results.map(({ value }) => value + CHUNK);
  for (const output of outputs) output.destroy();
  const total = taken.reduce((sum, bytes) => sum + bytes, 0);
  // Each stream has one chunk under way, and the first of them is owed.
  expect(total).toBeLessThanOrEqual(SECONDS * RATE + BURST + 3 * Math.max(...taken));
  expect(total).toBeGreaterThan(SECONDS * RATE * 0.5);
});

test('what the caller in the foreground reads has no rate of the log', async () => {
  const output = new OutputFanOut('stdout', { log });
  const chunk = Buffer.alloc(65_536, 'x');
  for (let written = 0; written < 2 * BURST; written += chunk.length) {
    await new Promise((resolve) => output.write(chunk, resolve));
  }
  expect(vi.getTimerCount()).toBe(0);
});
