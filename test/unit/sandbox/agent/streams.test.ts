// Copying between streams loses nothing, has back-pressure, and ends when either side breaks.
import { PassThrough, Readable, Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { copy } from '../../../../sandbox/agent/streams.js';

test('every byte arrives, in order, and the sink stays open', async () => {
  const chunks = Array.from({ length: 1000 }, (_, index) => Buffer.alloc(1000, index));
  const sink = new PassThrough({ highWaterMark: 100 });
  const received: Buffer[] = [];
  sink.on('data', (chunk) => received.push(chunk));
  const { done } = copy(Readable.from(chunks), sink);
  expect(await done).toEqual({ reason: 'end' });
  expect(Buffer.concat(received).equals(Buffer.concat(chunks))).toBe(true);
  expect(sink.writableEnded).toBe(false);
});

test('a paused source is resumed', async () => {
  const source = Readable.from(['x']).pause();
  expect(await copy(source, new PassThrough().resume()).done).toEqual({ reason: 'end' });
});

test('a sink that takes nothing pauses the source', async () => {
  let read = 0;
  const source = new Readable({
    highWaterMark: 1000,
    read() {
      read += 1000;
      this.push(Buffer.alloc(1000));
    },
  });
  const state = copy(source, new Writable({ highWaterMark: 5000, write() {} }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(state.blocked).toBe(true);
  expect(read).toBeLessThan(20_000);
  source.destroy();
});

test('an error of the source ends the copy', async () => {
  const source = new PassThrough();
  const { done } = copy(source, new PassThrough().resume());
  source.destroy(new Error('reset'));
  expect(await done).toEqual({ reason: 'end' });
});

test('an error of the sink ends the copy with that error', async () => {
  const sink = new PassThrough();
  const { done } = copy(new PassThrough(), sink);
  sink.destroy(Object.assign(new Error('broken'), { code: 'EPIPE' }));
  expect(await done).toMatchObject({ reason: 'broken', error: { code: 'EPIPE' } });
});
