// How near an address is, and that a lookup gives none that is too near.
import { networkInterfaces } from 'node:os';
import { describe, expect, test } from 'vitest';
import { ImageError } from '../../../../images/errors.js';
import {
  checkHost,
  farther,
  isWithinReach,
  lookupWithin,
  REACHES,
  type Reach,
  reachOf,
} from '../../../../images/registry/reach.js';

test.each<[Reach, string[]]>([
  ['public', ['8.8.8.8', '203.0.113.20', '::ffff:8.8.8.8', '2606:4700::1111', '64:ff9b::808:808']],
  ['private', ['10.0.0.1', '172.16.0.1', '192.168.7.20', '100.64.0.1', '198.18.0.1', 'fd00::1', '2002:a00:1::1']],
  ['private', ['::ffff:10.0.0.1', '64:ff9b::a00:1', '224.0.0.1', '240.0.0.1', 'ff02::1', '::10.0.0.1']],
  ['link', ['169.254.169.254', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe', 'fe80::1', 'fe80::1%eth0']],
  ['link', ['100.100.100.200', '168.63.129.16', 'fd00:ec2::254']],
  ['host', ['127.0.0.1', '127.9.9.9', '0.0.0.0', '0.1.2.3', '::', '::1', '::ffff:127.0.0.1', '64:ff9b::7f00:1']],
])('%s: %j', (reach, addresses) => {
  for (const address of addresses) expect([address, reachOf(address)]).toEqual([address, reach]);
});

test("this host's own addresses are on this host, whatever they are", () => {
  const own = Object.values(networkInterfaces()).flatMap((each = []) => each.map(({ address }) => address));
  expect(own.length).toBeGreaterThan(0);
  for (const address of own) expect(reachOf(address)).toBe('host');
});

test('what is farther is within the reach of what is nearer', () => {
  for (const [i, one] of REACHES.entries()) {
    for (const [j, other] of REACHES.entries()) {
      expect(isWithinReach(one, other)).toBe(i <= j);
      expect(farther(one, other)).toBe(i <= j ? one : other);
    }
  }
});

test('a host that is an address is checked, a name is left to its lookup', () => {
  for (const host of ['127.0.0.1', '[::1]', '[::ffff:7f00:1]', '10.0.0.1', '169.254.169.254']) {
    expect(() => checkHost(host, 'public')).toThrow(ImageError);
    expect(() => checkHost(host, 'host')).not.toThrow();
  }
  expect(() => checkHost('10.0.0.1', 'private')).not.toThrow();
  expect(() => checkHost('169.254.169.254', 'private')).toThrow(/nearer to this host/);
  expect(() => checkHost('localhost', 'public')).not.toThrow();
});

describe('the lookup of a name', () => {
  const find = (limit: Reach, all: boolean) =>
    new Promise((resolve, reject) => {
      lookupWithin(limit)('localhost', { all }, (error, address) => (error ? reject(error) : resolve(address)));
    });

  test('gives no address of this host to a server that is not', async () => {
    for (const all of [true, false]) {
      for (const limit of ['public', 'private', 'link'] as const) {
        await expect(find(limit, all)).rejects.toThrow(/^a registry leads to localhost, which is nearer/);
      }
    }
  });

  test('gives all addresses within the reach', async () => {
    expect(await find('host', true)).toEqual(
      expect.arrayContaining([expect.objectContaining({ address: expect.stringMatching(/^(127\.0\.0\.1|::1)$/) })]),
    );
    expect(await find('host', false)).toMatch(/^(127\.0\.0\.1|::1)$/);
  });
});
