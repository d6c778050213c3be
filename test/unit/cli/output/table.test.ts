// Tables, sizes and ages are formatted as Docker does.
import { describe, expect, test } from 'vitest';
import { formatAge, formatBytes, formatTable } from '../../../../cli/output/table.js';

test('columns of a table are as wide as their widest cell', () => {
  expect(formatTable(['NAME', 'SIZE'], [['debian', '1B']])).toBe('NAME     SIZE\ndebian   1B\n');
});

test.each([
  [0, '0B'],
  [999, '999B'],
  [1000, '1kB'],
  [116_789_000, '117MB'],
  [2_500_000_000, '2.5GB'],
])('%d bytes are shown as %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

describe('formatAge', () => {
  const now = Date.parse('2024-01-10T00:00:00Z');
  test.each([
    ['2024-01-09T23:59:59Z', '1 second ago'],
    ['2024-01-09T21:00:00Z', '3 hours ago'],
    ['2023-11-01T00:00:00Z', '2 months ago'],
    ['2024-01-10T00:00:00Z', 'now'],
    ['', 'N/A'],
  ])('%j is %s', (time, text) => {
    expect(formatAge(time, now)).toBe(text);
  });
});
