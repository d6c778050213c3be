// Which routes of a host are closed to its guests. The public Internet stays reachable however the
// host reaches it.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isClosedRange } from '../../../../addresses/closed-ranges.js';
import { isInAnyRange, parseAddress, parseRange } from '../../../../addresses/ip.js';
import { closedByRoutes } from '../../../../vmm/outside/closed-routes.js';
import { RTN_ANYCAST, RTN_BROADCAST, RTN_LOCAL, RTN_UNICAST } from '../../../../vmm/outside/host-routes.js';

const TYPES: Record<string, number> = { local: RTN_LOCAL, broadcast: RTN_BROADCAST, anycast: RTN_ANYCAST };

/** Routes as `ip route` prints them: `[TYPE] default|RANGE WAY`. */
function routes(lines: readonly string[]) {
  return lines.map((line) => {
    const words = line.split(' ');
    const type = TYPES[words[0]!];
    const [range = '', ...way] = type === undefined ? words : words.slice(1);
    const isIPv6 = line.includes(':');
    const destination = range.replace(/^default/, isIPv6 ? '::/0' : '0.0.0.0/0');
    return {
      range: parseRange(destination),
      isIPv4: !isIPv6,
      type: type ?? RTN_UNICAST,
      way: way.join(' '),
    };
  });
}

const isClosed = (lines: readonly string[], address: string) =>
  isInAnyRange(closedByRoutes(routes(lines)), parseAddress(address));

interface Host {
  name: string;
  routes: string[];
  closed: string[];
  open: string[];
}

const HOSTS: Host[] = [
  {
    name: 'on a link with public addresses',
    routes: [
      ...['default via 203.0.113.1 dev eth0', '203.0.113.0/24 dev eth0', 'broadcast 203.0.113.255 dev eth0'],
      ...['local 203.0.113.9 dev eth0', 'local 127.0.0.0/8 dev lo'],
      ...['default via fe80::1 dev eth0', '2001:db8:1:1::/64 dev eth0', 'local 2001:db8:1:1::9 dev lo'],
    ],
    closed: ['203.0.113.1', '203.0.113.77', '203.0.113.9', '127.0.0.1', '2001:db8:1:1::20', '2001:db8:1:1::9'],
    open: ['203.0.114.1', '8.8.8.8', '2001:db8:1:2::1', '2606:4700::1111'],
  },
  {
    name: 'on a point-to-point link',
    routes: ['default dev ppp0', '198.51.100.1 dev ppp0', 'local 203.0.113.9 dev ppp0', 'default dev ppp0 inet6 ::'],
    closed: ['198.51.100.1', '203.0.113.9'],
    open: ['198.51.100.2', '203.0.113.10', '8.8.8.8', '2606:4700::1111'],
  },
  {
    name: 'of a cloud, with a /32 and a gateway that is on-link by word',
    routes: ['default via 172.31.1.1 dev eth0 onlink', '172.31.1.1 dev eth0', 'local 203.0.113.9 dev eth0'],
    closed: ['203.0.113.9'],
    open: ['203.0.113.10', '8.8.8.8'],
  },
  {
    name: 'with a /31 to its gateway',
    routes: ['default via 203.0.113.0 dev eth0', '203.0.113.0/31 dev eth0', 'local 203.0.113.1 dev eth0'],
    closed: ['203.0.113.0', '203.0.113.1'],
    open: ['203.0.113.2', '8.8.8.8'],
  },
  {
    name: 'whose VPN takes the default in halves',
    routes: [
      ...['0.0.0.0/1 via 10.8.0.1 dev tun0', '128.0.0.0/1 via 10.8.0.1 dev tun0', '10.8.0.0/24 dev tun0'],
      ...['default via 203.0.113.1 dev eth0', '198.51.100.4 via 203.0.113.1 dev eth0', '203.0.113.0/24 dev eth0'],
      ...['::/1 dev tun0', '8000::/1 dev tun0'],
    ],
    closed: ['198.51.100.4', '203.0.113.77'],
    open: ['8.8.8.8', '198.51.100.5', '2606:4700::1111', '2001:db8::1'],
  },
  {
    name: 'whose halves lead two ways',
    routes: ['0.0.0.0/1 via 203.0.113.1 dev eth0', '128.0.0.0/1 via 198.51.100.1 dev eth1', 'local 127.0.0.0/8 dev lo'],
    closed: ['127.0.0.1'],
    open: ['8.8.8.8', '203.0.113.1', '198.51.100.77'],
  },
  {
    name: 'whose VPN takes all but the private ranges',
    routes: [
      ...['0.0.0.0/5', '8.0.0.0/7', '11.0.0.0/8', '12.0.0.0/6', '16.0.0.0/4', '32.0.0.0/3', '64.0.0.0/2'],
      ...['128.0.0.0/3', '160.0.0.0/5', '168.0.0.0/6', '172.0.0.0/12', '172.32.0.0/11', '172.64.0.0/10'],
      ...['172.128.0.0/9', '173.0.0.0/8', '174.0.0.0/7', '176.0.0.0/4', '192.0.0.0/9', '192.128.0.0/11'],
      ...['192.160.0.0/13', '192.169.0.0/16', '192.170.0.0/15', '192.172.0.0/14', '192.176.0.0/12', '192.192.0.0/10'],
      ...['193.0.0.0/8', '194.0.0.0/7', '196.0.0.0/6', '200.0.0.0/5', '208.0.0.0/4'],
    ]
      .map((range) => `${range} dev wg0`)
      .concat('172.1.2.0/24 dev wg0', 'default via 203.0.113.1 dev eth0', '203.0.113.0/24 dev eth0'),
    closed: ['172.1.2.3', '203.0.113.77'],
    open: ['8.8.8.8', '11.1.1.1', '172.33.1.1', '192.169.1.1', '193.1.1.1', '172.1.3.3'],
  },
  {
    name: 'with a VPN of an office, by a gateway or a link',
    routes: [
      ...['default via 203.0.113.1 dev eth0', '198.51.100.0/24 dev wg0', '9.0.0.0/8 via 10.0.0.1 dev tun0'],
      ...['default via fe80::1 dev eth0', '2001:db8:5::/48 via fd00::1 dev tun0', '2600::/16 dev wg0'],
    ],
    closed: ['198.51.100.1', '9.9.9.9', '2001:db8:5::1', '2600::1'],
    open: ['198.51.101.1', '8.8.8.8', '2001:db8:6::1', '2a00::1'],
  },
  {
    name: 'whose VPN has a default in a table of its own',
    routes: [
      ...['default via 203.0.113.1 dev eth0', '203.0.113.0/24 dev eth0'],
      ...['default dev wg0 table 51820', '198.51.100.0/24 dev wg0 table 51820'],
    ],
    closed: ['203.0.113.77', '198.51.100.7'],
    open: ['8.8.8.8'],
  },
  {
    name: 'with the global unicast range as its default',
    routes: ['2000::/3 via fe80::1 dev eth0', '2001:db8:1::/64 dev eth0'],
    closed: ['2001:db8:1::5'],
    open: ['2606:4700::1111', '2001:db8:2::5'],
  },
  {
    name: 'with a transparent proxy',
    routes: [
      'local 127.0.0.0/8 dev lo',
      'local default dev lo',
      'local ::/0 dev lo',
      'default via 203.0.113.1 dev eth0',
    ],
    closed: ['127.0.0.1'],
    open: ['8.8.8.8', '2606:4700::1111'],
  },
  {
    name: 'that is a router of a subnet',
    routes: ['anycast 2001:db8:1:: dev eth0', 'default via fe80::1 dev eth0'],
    closed: ['2001:db8:1::'],
    open: ['2001:db8:1::1'],
  },
  {
    name: 'without a default',
    routes: ['203.0.113.0/24 dev eth0', '9.0.0.0/8 via 203.0.113.1 dev eth0'],
    closed: ['203.0.113.7', '9.1.1.1'],
    open: ['8.8.8.8'],
  },
];

describe.each(HOSTS)('of a host $name', ({ routes: lines, closed, open }) => {
  test.each(closed)('%s is closed', (address) => {
    expect(isClosed(lines, address)).toBe(true);
  });
  test.each(open)('%s is open', (address) => {
    expect(isClosed(lines, address)).toBe(false);
  });
});

test('a private link is closed by its range alone, so that a rule for the range opens it', () => {
  expect(closedByRoutes(routes(['default dev eth0', '192.168.7.0/24 dev eth0', 'fd00:1::/64 dev eth0']))).toEqual([]);
  expect(closedByRoutes(routes(['default dev eth0', 'local 192.168.7.1 dev eth0']))).toHaveLength(1);
});

test('a network within a closed one is opened by a rule for the outer one', () => {
  const ranges = closedByRoutes(routes(['default dev a', '9.0.0.0/8 dev b', '9.1.0.0/16 dev c', '9.1.0.1 dev d']));
  expect(ranges).toEqual([parseRange('9.0.0.0/8')]);
});

test('each address of a route that is more specific than the default is closed', () => {
  const bits = fc.integer({ min: 8, max: 32 });
  const address = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const toText = (word: number) => [24, 16, 8, 0].map((shift) => (word >>> shift) & 0xff).join('.');
  fc.assert(
    fc.property(fc.array(fc.tuple(address, bits), { maxLength: 30 }), address, (specifics, tried) => {
      const inside = (word: number, count: number) => (word & (count === 0 ? 0 : -1 << (32 - count))) >>> 0;
      const lines = specifics.map(([word, count]) => `${toText(inside(word, count))}/${count} dev eth${count}`);
      const ranges = closedByRoutes(routes(['default via 203.0.113.1 dev up', ...lines]));
      const expected = specifics.some(([word, count]) => inside(word, count) === inside(tried, count));
      const closed = isInAnyRange([...ranges], parseAddress(toText(tried)));
      // What is closed anyway is not listed again.
      if (!expected) expect(closed).toBe(false);
      for (const [word, count] of specifics) {
        const own = parseRange(`${toText(inside(word, count))}/${count}`);
        const isListed = isInAnyRange([...ranges], own.address);
        expect(isListed || isClosedRange(own)).toBe(true);
      }
    }),
  );
});
