import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ConsoleTail } from '../../../../vmm/process/console-tail.js';

test('the tail is the end of what was written, whatever its length', () => {
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
