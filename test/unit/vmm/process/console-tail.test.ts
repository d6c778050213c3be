// The end of the console's output that is kept.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ConsoleTail } from '../../../../vmm/process/console-tail.js';

test('the tail is the end of the output, at any length', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme-ascii', maxLength: 100 }),
      fc.integer({ min: 1, max: 40 }),
      (text, capacity) => {
        const tail = new ConsoleTail(capacity);
        for (const byte of Buffer.from(text)) tail.push(byte);
        expect(tail.toString()).toBe(text.slice(-capacity));
      },
    ),
  );
});
