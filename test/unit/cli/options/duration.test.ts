// Durations are parsed to milliseconds, or refused.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDuration } from '../../../../cli/options/duration.js';

describe('parseDuration', () => {
  test.each([
    ['30', 30_000],
    ['1.5', 1500],
    ['30s', 30_000],
    ['500ms', 500],
    ['1.5s', 1500],
    ['2m', 120_000],
    ['1h30m', 5_400_000],
    ['1d', 86_400_000],
    ['0', 0],
  ])('%s is %d milliseconds', (text, milliseconds) => {
    expect(parseDuration(text, '--timeout')).toBe(milliseconds);
  });

  test.each(['', 's', '-1s', '1w', '1h 30m', '1e3s', 'Infinity', '99999999999999999d'])('%j is refused', (text) => {
    expect(() => parseDuration(text, '--timeout')).toThrow(/invalid argument .* for --timeout/);
  });

  test('any text gives whole milliseconds or a usage error', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^([0-9.]{0,9}(ms|[smhd])?){0,3}$/)), (text) => {
        try {
          expect(parseDuration(text, '--timeout')).toSatisfy(
            (value: number) => Number.isSafeInteger(value) && value >= 0,
          );
        } catch (error) {
          expect(error).toMatchObject({ name: 'UsageError' });
        }
      }),
    );
  });
});
