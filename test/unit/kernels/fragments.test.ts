// Proves how config fragments are read, and how lost options are found.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { lostOptions, parseOptions } from '../../../kernels/fragments.js';
import { fragmentPaths, KERNEL_NAMES } from '../../../kernels/index.js';

describe('parseOptions', () => {
  it('reads values as written, and unset options as n', () => {
    const options = parseOptions('CONFIG_A=y\nCONFIG_B=64\nCONFIG_C="a b"\n# CONFIG_D is not set\n');
    expect([...options]).toEqual([
      ['CONFIG_A', 'y'],
      ['CONFIG_B', '64'],
      ['CONFIG_C', '"a b"'],
      ['CONFIG_D', 'n'],
    ]);
  });

  it('uses the last value of an option, across fragments too', () => {
    const options = parseOptions('CONFIG_A=y\nCONFIG_B=y', '# CONFIG_A is not set', 'CONFIG_B=m');
    expect([...options]).toEqual([
      ['CONFIG_A', 'n'],
      ['CONFIG_B', 'm'],
    ]);
  });

  it('skips comments and empty lines', () => {
    expect(parseOptions('# Memory\n\n# CONFIG_A is what this says nothing of\n').size).toBe(0);
  });

  it.each(['CONFIG_A', 'CONFIG_A = y', 'A=y', 'CONFIG_A=', ' CONFIG_A=y'])('refuses %j', (line) => {
    expect(() => parseOptions(line)).toThrow(SyntaxError);
  });

  it.each(KERNEL_NAMES)("reads the fragments of kernel '%s'", (name) => {
    const options = parseOptions(...fragmentPaths(name).map((path) => readFileSync(path, 'utf8')));
    expect(options.get(name === 'uml' ? 'CONFIG_VIRTIO_UML' : 'CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES')).toBe('y');
    expect(options.get('CONFIG_MODULES')).toBe('n');
  });
});

describe('lostOptions', () => {
  const lost = (wanted: string, resolved: string) => lostOptions(parseOptions(wanted), parseOptions(resolved));

  it('is empty if every option has its value', () => {
    expect(lost('CONFIG_A=y\n# CONFIG_B is not set', 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y')).toEqual([]);
  });

  it('reads an option that the configuration lacks as off', () => {
    expect(lost('# CONFIG_A is not set', '')).toEqual([]);
    expect(lost('CONFIG_A=y', '')).toEqual(['CONFIG_A=y (became n)']);
  });

  it('lists every option that changed, in the order of the fragments', () => {
    const resolved = 'CONFIG_B=y\nCONFIG_C=100\nCONFIG_D="x"\n# CONFIG_A is not set';
    expect(lost('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=64\nCONFIG_D="y"', resolved)).toEqual([
      'CONFIG_A=y (became n)',
      'CONFIG_B=n (became y)',
      'CONFIG_C=64 (became 100)',
      'CONFIG_D="y" (became "x")',
    ]);
  });
});
