import { describe, expect, test } from 'vitest';
import { baseCommandLine, joinCommandLine } from '../../../../vmm/boot/index.js';

describe("the machine's words", () => {
  test('name each device where it is', () => {
    const devices = [
      { address: 0xd0000000, irq: 5 },
      { address: 0xd0001000, irq: 6 },
    ];
    const words = baseCommandLine({ devices, console: false }).split(' ');
    expect(words.filter((word) => word.startsWith('virtio_mmio'))).toEqual([
      'virtio_mmio.device=4K@0xd0000000:5',
      'virtio_mmio.device=4K@0xd0001000:6',
    ]);
  });

  test('show all messages only on a console', () => {
    expect(baseCommandLine({ devices: [], console: true })).toContain('loglevel=7');
    expect(baseCommandLine({ devices: [], console: false })).toContain('loglevel=1');
  });
});

describe("the spec's words", () => {
  test("follow the machine's", () => {
    expect(joinCommandLine('a b', 'c="d e"')).toBe('a b c="d e"');
    expect(joinCommandLine('a b', '')).toBe('a b');
  });

  test.each(['a\nb', 'a\0', 'a\tb', '\x7f', 'é'])('%j is refused', (words) => {
    expect(() => joinCommandLine('a', words)).toThrow(
      'the kernel command line has a character that is not printable ASCII',
    );
  });

  test('may fill what the kernel reads, and no more', () => {
    expect(joinCommandLine('a', 'b'.repeat(2045))).toHaveLength(2047);
    expect(() => joinCommandLine('a', 'b'.repeat(2046))).toThrow(
      'the kernel command line is 2048 bytes long; the kernel takes at most 2047',
    );
  });
});
