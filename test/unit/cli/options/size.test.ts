// Sizes are parsed to bytes, or refused.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSize } from '../../../../cli/options/size.js';

describe('parseSize', () => {
  test.each([
    ['0', 0],
    ['1048576', 1048576],
    ['512m', 512 * 2 ** 20],
    ['512M', 512 * 2 ** 20],
    ['64MiB', 64 * 2 ** 20],
    ['64mb', 64 * 2 ** 20],
    ['1.5g', 1.5 * 2 ** 30],
    ['2 k', 2048],
    ['100b', 100],
    ['1t', 2 ** 40],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text, '--memory')).toBe(bytes);
  });

  test.each(['', 'm', '-1m', '1x', '1mm', '1..5g', '.5g', '1e3', '0x10', '512m ', '∞', '9999999999999p'])(
    '%j is refused, naming the option',
    (text) => {
      expect(() => parseSize(text, '--memory')).toThrow(/invalid argument .* for --memory/);
    },
  );

  test('any text gives a whole number of bytes or a usage error', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9. ]{0,20}[kmgtp]?i?b?$/)), (text) => {
        try {
          const bytes = parseSize(text, '--disk');
          expect(Number.isSafeInteger(bytes) && bytes >= 0).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ name: 'UsageError' });
        }
      }),
    );
  });
});
