// The kernel command line: the machine's parameters, the spec's, and the limits on them.
import { describe, expect, test } from 'vitest';
import { baseCommandLine, joinCommandLine } from '../../../../vmm/boot/index.js';

describe("the machine's parameters", () => {
  test('name the address and interrupt line of each device', () => {
    const devices = [
      { address: 0xd0000000, irq: 5, length: 4096 },
      { address: 0xd0001000, irq: 6, length: 4096 },
    ];
    const parameters = baseCommandLine({ devices, console: false }).split(' ');
    expect(parameters.filter((word) => word.startsWith('virtio_mmio'))).toEqual([
      'virtio_mmio.device=4096@0xd0000000:5',
      'virtio_mmio.device=4096@0xd0001000:6',
    ]);
  });

  test('print all messages only if there is a console', () => {
    expect(baseCommandLine({ devices: [], console: true })).toContain('loglevel=7');
    expect(baseCommandLine({ devices: [], console: false })).toContain('loglevel=1');
  });
});

describe("the spec's parameters", () => {
  test("follow the machine's", () => {
    expect(joinCommandLine('a b', 'c="d e"')).toBe('a b c="d e"');
    expect(joinCommandLine('a b', '')).toBe('a b');
  });

  test.each(['a\nb', 'a\0', 'a\tb', '\x7f', 'é'])('%j is refused', (parameters) => {
    expect(() => joinCommandLine('a', parameters)).toThrow(
      'the kernel command line has a character that is not printable ASCII',
    );
  });

  test('may fill the whole line that the kernel reads, and not exceed it', () => {
    expect(joinCommandLine('a', 'b'.repeat(2045))).toHaveLength(2047);
    expect(() => joinCommandLine('a', 'b'.repeat(2046))).toThrow(
      'the kernel command line is 2048 bytes long; the kernel takes at most 2047',
    );
  });
});
