// LZ4's legacy frames: literals, matches that overlap themselves, long lengths, and malformed input.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decompressLz4 } from '../../../kernels/lz4.js';

/** A frame of one block. */
function frame(...block: number[]): Uint8Array {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(block.length);
  return Buffer.from([0x02, 0x21, 0x4c, 0x18, ...size, ...block]);
}

test('literals and a match that overlaps itself', () => {
  // "ab", 6 bytes from 2 before, and "c".
  const bytes = frame(0x22, 0x61, 0x62, 2, 0, 0x10, 0x63);
  expect(Buffer.from(decompressLz4(bytes, 9)).toString()).toBe('ababababc');
});

test('lengths of 15 and more go on in further bytes', () => {
  const literals = Array.from({ length: 15 + 255 + 3 }, (_, index) => index & 0xff);
  expect([...decompressLz4(frame(0xf0, 255, 3, ...literals), literals.length)]).toEqual(literals);
});

test.each([
  ['another magic', Buffer.from([1, 2, 3, 4, 0, 0, 0, 0]), 1],
  ['a block beyond the end', Buffer.from([0x02, 0x21, 0x4c, 0x18, 9, 0, 0, 0, 0x10]), 1],
  ['literals beyond the end', frame(0x30, 0x61), 3],
  ['a match before the beginning', frame(0x10, 0x61, 2, 0), 5],
  ['a match at distance 0', frame(0x10, 0x61, 0, 0), 5],
  ['more than the size', frame(0x20, 0x61, 0x62), 1],
  ['less than the size', frame(0x20, 0x61, 0x62), 3],
])('%s is refused', (_, bytes, size) => {
  expect(() => decompressLz4(bytes, size)).toThrow(RangeError);
});

test('random blocks are decompressed or refused', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(255), { maxLength: 64 }), fc.nat(512), (block, size) => {
      try {
        expect(decompressLz4(frame(...block), size)).toHaveLength(size);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }),
  );
});
