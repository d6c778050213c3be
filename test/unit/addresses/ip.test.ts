// Addresses and ranges: parsing, formatting and containment.
import { isIP, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatAddress, isInRange, isWithin, parseAddress, parseRange } from '../../../addresses/ip.js';

test('an address survives formatting and parsing', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const address = parseAddress(text);
      const written = formatAddress(address);
      expect([...parseAddress(written)]).toEqual([...address]);
      if (isIPv6(written)) expect(new URL(`http://[${written}]/`).hostname).toBe(`[${written}]`);
    }),
  );
});

const PIECES = [
  '::',
  ':',
  '0',
  '1',
  'ffff',
  'FFFFF',
  'g',
  '-1',
  '1.2.3.4',
  '1.2.3',
  '01.2.3.4',
  '%eth0',
  ' ',
  '\n',
  '.',
];

test('text is an address if Node.js finds it one, without a zone', () => {
  const near = fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }).map((pieces) => pieces.join(''));
  const full = fc
    .array(fc.constantFrom('0', 'ab', 'ffff', '', '1.2.3.4'), { minLength: 2, maxLength: 10 })
    .map((groups) => groups.join(':'));
  const isAddress = (text: string) => {
    try {
      parseAddress(text);
      return true;
    } catch {
      return false;
    }
  };
  const texts = fc.oneof(near, full, fc.ipV6(), fc.string());
  fc.assert(
    fc.property(texts, (text) => {
      expect([text, isAddress(text)]).toEqual([text, isIP(text) !== 0 && !text.includes('%')]);
    }),
    { numRuns: 20_000 },
  );
});

test.each([
  ['10.0.0.0/8', '10.255.255.255', true],
  ['10.0.0.0/8', '11.0.0.0', false],
  ['0.0.0.0/0', '255.255.255.255', true],
  ['0.0.0.0/0', '::1', false],
  ['::/0', '2001:db8::1', true],
  ['192.0.2.128/25', '192.0.2.127', false],
  ['2001:db8::/33', '2001:db8:7fff::1', true],
  ['2001:db8::/33', '2001:db8:8000::1', false],
  ['192.0.2.1', '192.0.2.1', true],
])('%s contains %s: %s', (range, address, expected) => {
  expect(isInRange(parseRange(range), parseAddress(address))).toBe(expected);
});

test('a range is within an equal or a wider range', () => {
  expect(isWithin(parseRange('10.1.0.0/16'), parseRange('10.0.0.0/8'))).toBe(true);
  expect(isWithin(parseRange('10.0.0.0/8'), parseRange('10.0.0.0/8'))).toBe(true);
  expect(isWithin(parseRange('0.0.0.0/0'), parseRange('10.0.0.0/8'))).toBe(false);
  expect(isWithin(parseRange('11.0.0.0/16'), parseRange('10.0.0.0/8'))).toBe(false);
});

test.each(['', '10.0.0', '10.0.0.0/33', '10.0.0.0/8/8', '10.0.0.0/x', '::/129', 'fe80::1%eth0', 'host'])(
  '%j is not a range',
  (text) => {
    expect(() => parseRange(text)).toThrow(RangeError);
  },
);
