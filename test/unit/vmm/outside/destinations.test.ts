// What the owner of a machine connects to: what the guest's rules allow, as far as they can be told
// without names, and never what is closed.
import { expect, test } from 'vitest';
import { formatAddress, parseAddress } from '../../../../addresses/ip.js';
import type { NetworkRule } from '../../../../vmm/machine.js';
import { Destinations } from '../../../../vmm/outside/destinations.js';
import { GATEWAY } from '../../../fixtures/frames.js';

const PUBLIC = '1.1.1.1';
const RESOLVER = '192.168.7.7';
const HOST: NetworkRule[] = [
  { allow: true, range: GATEWAY.ipv4 },
  { allow: true, range: GATEWAY.ipv6 },
];

/** The host's address behind the destination; undefined if it is refused. */
function found(to: string, port: number, rules: NetworkRule[] = [], reachHost = true): string | undefined {
  const spec = { gateways: [GATEWAY.ipv4, GATEWAY.ipv6], resolvers: [RESOLVER], rules };
  using destinations = new Destinations(spec, { reachHost });
  const address = destinations.find({ destination: parseAddress(to), destinationPort: port, isPing: port === 0 }, 1);
  return address === undefined ? undefined : formatAddress(address);
}

test.each([PUBLIC, '2606:4700:4700::1111'])('%s is itself', (address) => {
  expect(found(address, 443)).toBe(address);
});

test.each([
  ...['127.0.0.1', '::1', '10.0.0.1', '169.254.169.254', '192.168.1.1', '0.0.0.0', '255.255.255.255', 'fe80::5'],
  ...['::ffff:0:0', 'fd00::1', '224.0.0.1', 'ff02::1', '::', GATEWAY.ipv4, GATEWAY.ipv6],
])('%s is closed', (address) => {
  expect(found(address, 80)).toBeUndefined();
});

test.each(['127.0.0.1', '127.9.9.9', '::1', '0.0.0.0', '::', '224.0.0.1'])('no rule opens %s itself', (address) => {
  expect(found(address, 80, [{ allow: true, range: address }])).toBeUndefined();
});

test("the gateway is the host's loopback interface if a rule and the specification say so", () => {
  expect([found(GATEWAY.ipv4, 80, HOST), found(GATEWAY.ipv6, 80, HOST)]).toEqual(['127.0.0.1', '::1']);
  expect([found(GATEWAY.ipv4, 80, HOST, false), found(GATEWAY.ipv6, 80, HOST, false)]).toEqual([undefined, undefined]);
  expect(found(GATEWAY.ipv4, 80, [...HOST, { allow: false, range: GATEWAY.ipv4, ports: [80, 80] }])).toBeUndefined();
  expect(found(GATEWAY.ipv4, 81, [{ allow: true, range: GATEWAY.ipv4, ports: [80, 80] }])).toBeUndefined();
});

test('rules with ranges hold', () => {
  expect(found(PUBLIC, 80, [{ allow: false, range: '1.0.0.0/8' }])).toBeUndefined();
  expect(found(PUBLIC, 80, [{ allow: true, range: '9.0.0.0/8' }])).toBeUndefined();
  expect(found('10.1.2.3', 80, [{ allow: true, range: '10.1.0.0/16' }])).toBe('10.1.2.3');
  expect(found('10.2.2.3', 80, [{ allow: true, range: '10.1.0.0/16' }])).toBeUndefined();
});

test('a name opens no closed address, and its ports hold', () => {
  const rules: NetworkRule[] = [{ allow: true, name: 'example.com', ports: [443, 443] }];
  expect(found(PUBLIC, 443, rules)).toBe(PUBLIC);
  expect([found(PUBLIC, 80, rules), found('10.0.0.1', 443, rules)]).toEqual([undefined, undefined]);
  expect(found(PUBLIC, 80, [{ allow: false, name: 'example.com' }])).toBe(PUBLIC);
});

test('a resolver answers at its port, unless a rule denies it', () => {
  expect([found(RESOLVER, 53), found(RESOLVER, 80)]).toEqual([RESOLVER, undefined]);
  expect(found(RESOLVER, 53, [{ allow: true, name: 'example.com' }])).toBe(RESOLVER);
  expect(found(RESOLVER, 53, [{ allow: false, range: RESOLVER }])).toBeUndefined();
});
