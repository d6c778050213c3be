// -e and --env-file follow Docker's rules.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseEnv, parseEnvFile, readEnvFile } from '../../../../cli/options/environment.js';

const parse = (text: string, environment = {}) => parseEnvFile(Buffer.from(text), 'vars', environment);

describe('parseEnv', () => {
  test('a value may be empty and may hold equals signs', () => {
    expect(parseEnv('A=', {})).toEqual(['A', '']);
    expect(parseEnv('A=b=c', {})).toEqual(['A', 'b=c']);
  });

  test('a bare name takes its value from the environment', () => {
    expect(parseEnv('HOME', { HOME: '/root' })).toEqual(['HOME', '/root']);
  });

  test("a bare name that the environment lacks is removed from the image's", () => {
    expect(parseEnv('NOPE', {})).toEqual(['NOPE', null]);
  });

  test.each(['', '=x'])('%j is refused', (text) => {
    expect(() => parseEnv(text, {})).toThrow('invalid environment variable');
  });
});

describe('parseEnvFile', () => {
  test('comments, empty lines and leading blanks are skipped, values are kept as they are', () => {
    expect(parse('# no\n\n  A=1\nB="quoted"\nC= spaced \nD=x # y\n')).toEqual([
      ['A', '1'],
      ['B', '"quoted"'],
      ['C', ' spaced '],
      ['D', 'x # y'],
    ]);
  });

  test('a byte order mark and carriage returns are not part of a variable', () => {
    expect(parse('\ufeffA=1\r\nB=2\r\n')).toEqual([
      ['A', '1'],
      ['B', '2'],
    ]);
  });

  test('a bare name takes its value from the environment, or is left out', () => {
    expect(parse('A\nB\n', { A: '1' })).toEqual([['A', '1']]);
  });

  test.each([
    ['=x', 'vars, line 1: the variable has no name'],
    ['A=1\nB C=2', "vars, line 2: variable 'B C' contains whitespaces"],
    ['A=\0', 'the line contains a NUL character'],
    [`A=${'x'.repeat(70_000)}`, 'the line is too long'],
  ])('%j is refused', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  test('bytes that are not UTF-8 are refused', () => {
    expect(() => parseEnvFile(Buffer.from([0x41, 0x3d, 0xff]), 'vars', {})).toThrow('not UTF-8');
  });

  test('any bytes give variables with a name, or a usage error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          for (const [name] of parseEnvFile(bytes, 'vars', {})) expect(name).toMatch(/^[^=\s][^=]*$/);
        } catch (error) {
          expect(error).toMatchObject({ name: 'UsageError' });
        }
      }),
    );
  });

  test('a missing file is one clear error', () => {
    expect(() => readEnvFile('/nonexistent/vars')).toThrow('cannot read env file /nonexistent/vars');
  });
});
