// What a companion wrote is passed on, the last of it after its end.
import { closeSync, readSync, writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Companion } from '../../../../vmm/host/companion.js';
import { EventLoop } from '../../../../vmm/host/event-loop.js';
import { createPipe } from '../../../../vmm/host/libc.js';

test('a line starts it, and all that it writes is read', () => {
  using loop = new EventLoop();
  const [start, starter] = createPipe();
  const [console, write] = createPipe();
  let said = '';
  const onBytes = (bytes: Uint8Array) => {
    said += Buffer.from(bytes).toString();
  };
  using companion = new Companion(loop, { start: starter, outputs: new Map([[console, onBytes]]) });
  companion.start();
  expect(readSync(start, Buffer.alloc(10))).toBe(1);
  writeSync(write, 'some');
  while (said !== 'some') loop.poll(100);
  writeSync(write, ' more, at the end');
  closeSync(write);
  companion.drain();
  expect(said).toBe('some more, at the end');
  companion.drain();
  closeSync(start);
});

test('a reader may let go of it', () => {
  using loop = new EventLoop();
  const [start, starter] = createPipe();
  const [console, write] = createPipe();
  const companion = new Companion(loop, {
    start: starter,
    outputs: new Map([[console, () => companion[Symbol.dispose]()]]),
  });
  writeSync(write, 'the last line');
  companion.drain();
  // At the end of file: the companion never runs.
  expect(readSync(start, Buffer.alloc(10))).toBe(0);
  for (const fd of [start, write]) closeSync(fd);
});
