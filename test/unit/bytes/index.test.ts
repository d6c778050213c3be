// Bytes that a stranger sends in pieces take memory by their number, not by that of the pieces.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GatheredBytes } from '../../../bytes/index.js';

test('has what was added, in its order', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3000 })), (pieces) => {
      const gathered = new GatheredBytes();
      for (const piece of pieces) gathered.add(piece);
      expect(gathered.bytes).toEqual(Buffer.concat(pieces));
      expect(gathered.length).toBe(gathered.bytes.length);
    }),
  );
});

test('keeps no piece, and memory for twice the bytes at most', () => {
  const gathered = new GatheredBytes();
  const piece = new Uint8Array(1);
  const count = 300_000;
  for (let each = 0; each < count; each++) {
    piece[0] = each;
    gathered.add(piece);
  }
  piece[0] = 0xff;
  expect(gathered.bytes[0]).toBe(0);
  expect(gathered.bytes.at(-1)).toBe((count - 1) & 0xff);
  expect(gathered.bytes.buffer.byteLength).toBeLessThanOrEqual(2 * count);
});
