// Network rules and host entries parse into what they say. Any other text is a SandboxError.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SandboxError } from '../../../../sandbox/errors.js';
import { parseHostName, parseRule } from '../../../../sandbox/spec/network-rules.js';

const GATEWAY = '198.19.0.1';

describe('a rule', () => {
  test.each([
    ['10.0.0.0/8', { range: '10.0.0.0/8' }],
    ['192.0.2.7', { range: '192.0.2.7' }],
    ['192.0.2.7:443', { range: '192.0.2.7', ports: [443, 443] }],
    ['10.0.0.0/8:8000-8010', { range: '10.0.0.0/8', ports: [8000, 8010] }],
    ['2001:db8::/32', { range: '2001:db8::/32' }],
    ['[2001:db8::1]:80', { range: '2001:db8::1', ports: [80, 80] }],
    ['[2001:db8::]', { range: '2001:db8::' }],
    ['Example.COM.', { name: 'example.com' }],
    ['example.com:443', { name: 'example.com', ports: [443, 443] }],
    ['*.example.com', { name: '*.example.com' }],
    ['my_host', { name: 'my_host' }],
    ['host-gateway:5432', { range: GATEWAY, ports: [5432, 5432] }],
  ])('of %s', (text, expected) => {
    expect(parseRule(text, true, GATEWAY)).toEqual({ allow: true, ...expected });
  });

  test.each([
    ...['', ':80', '10.0.0.0/33', '10.0.0.0/', '10.0.0/8', '10.0.0.256', '2001:db8::/129', '10.0.0.0/8/8'],
    ...['example.com:0', 'example.com:65536', 'example.com:90-80', 'example.com:http', 'example..com', '-a.com'],
    ...['a/b', 'http://example.com', '*', '*.', '[::1', 'fe80::1%eth0', '127.0.0.1:80', '::1', 'a b'],
  ])('of %j is refused in one line', (text) => {
    expect(() => parseRule(text, true, GATEWAY)).toThrow(SandboxError);
    expect(() => parseRule(text, true, GATEWAY)).toThrow(/^invalid network rule [^\n]*$/);
  });

  test('parses from any text to a rule or a SandboxError', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.ipV4(), fc.ipV6(), fc.domain()),
        fc.string({ maxLength: 5 }),
        (host, more) => {
          try {
            const { range, name } = parseRule(host + more, true, GATEWAY);
            expect((range === undefined) !== (name === undefined)).toBe(true);
          } catch (error) {
            expect(error).toBeInstanceOf(SandboxError);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('a host name', () => {
  test('has an address, or is the host', () => {
    expect(parseHostName('db:10.0.0.1', GATEWAY)).toEqual({ name: 'db', address: '10.0.0.1' });
    expect(parseHostName('db=::1', GATEWAY)).toEqual({ name: 'db', address: '::1' });
    expect(parseHostName('db:[2001:db8::1]', GATEWAY)).toEqual({ name: 'db', address: '2001:db8::1' });
    expect(parseHostName('host.docker.internal:host-gateway', GATEWAY).address).toBe(GATEWAY);
  });

  test.each(['', 'db', 'db:', ':10.0.0.1', 'db:ten', 'd b:10.0.0.1', 'db:10.0.0.1\n10.0.0.2 x'])(
    '%j is refused',
    (text) => {
      expect(() => parseHostName(text, GATEWAY)).toThrow(SandboxError);
    },
  );
});
