// Addresses and ranges: parsing, formatting and containment.
import { isIPv6 } from 'node:net';
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
