// The network policy: which frames a guest may send. Everything that is not allowed is refused.

import { networkInterfaces } from 'node:os';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isInRange, parseAddress, parseRange } from '../../../../../vmm/devices/net/address.js';
import { Frame } from '../../../../../vmm/devices/net/frame.js';
import { HostAddresses } from '../../../../../vmm/devices/net/host-addresses.js';
import { Policy } from '../../../../../vmm/devices/net/policy.js';
import type { NetworkRule } from '../../../../../vmm/machine.js';
import {
  ACK,
  type Answer,
  answer,
  arp,
  ethernet,
  GATEWAY,
  GUEST,
  icmp,
  ip,
  PEER_RANGES,
  query,
  SYN,
  solicitation,
  tcp,
  udp,
} from '../../../../fixtures/frames.js';

const RESOLVER = '10.255.255.53';
const PUBLIC = '203.0.113.1';
const PUBLIC_6 = '2606:4700::1111';
const DHCP = { source: '0.0.0.0', destination: '255.255.255.255', sourcePort: 68, destinationPort: 67 };
const toGateway = { destination: GATEWAY.ipv6, destinationMac: GATEWAY.mac };

interface Guest {
  policy: Policy;
  /** Returns the reason for which the frame is refused; undefined if it passes. */
  sends(frame: Buffer, now?: number): string | undefined;
  gets(frame: Buffer, now?: number): void;
}

function guest(rules: NetworkRule[] = [], closed: string[] = []): Guest {
  const policy = new Policy(
    {
      mac: GUEST.mac,
      gatewayMac: GATEWAY.mac,
      addresses: [GUEST.ipv4, GUEST.ipv6, GUEST.local],
      gateways: [GATEWAY.ipv4, GATEWAY.ipv6],
      resolvers: [RESOLVER],
      peerRanges: PEER_RANGES,
      maxConnections: 16_384,
      rules,
      optional: false,
    },
    { ranges: () => closed.map(parseRange) },
  );
  const frame = new Frame();
  return {
    policy,
    sends: (bytes, now = 1) => {
      frame.parse(bytes, 0, bytes.length);
      return policy.outgoing(frame, bytes, bytes.length, now);
    },
    gets: (bytes, now = 1) => {
      frame.parse(bytes, 0, bytes.length);
      policy.incoming(frame, bytes, 0, now);
    },
  };
}

const allow = (range: string, ports?: [number, number]): NetworkRule => ({
  allow: true,
  range,
  ...(ports && { ports }),
});
const allowName = (name: string, ports?: [number, number]): NetworkRule => ({
  allow: true,
  name,
  ...(ports && { ports }),
});
const deny = (range: string, ports?: [number, number]): NetworkRule => ({
  allow: false,
  range,
  ...(ports && { ports }),
});

const ask = (name: string, fields = {}) =>
  udp({ destination: RESOLVER, destinationPort: 53, payload: query(name), ...fields });
const told = (name: string, answers: Answer[], fields = {}) =>
  udp({
    ...{ sourceMac: GATEWAY.mac, destinationMac: GUEST.mac, source: RESOLVER, destination: GUEST.ipv4 },
    ...{ sourcePort: 53, destinationPort: 40000, payload: answer(name, answers) },
    ...fields,
  });

describe('by default', () => {
  test.each([
    ['TCP', tcp({ destination: PUBLIC })],
    ['TCP by IPv6', tcp({ destination: PUBLIC_6 })],
    ['UDP', udp({ destination: PUBLIC })],
    ['ping', icmp({ destination: PUBLIC })],
    ['ping by IPv6', icmp({ destination: PUBLIC_6 })],
    ['a name server that the guest chose', udp({ destination: '9.9.9.9', destinationPort: 53, payload: query('a.b') })],
    ['its resolver', ask('example.com')],
    ['its resolver by TCP', tcp({ destination: RESOLVER, destinationPort: 53 })],
    ["its gateway's hardware address", arp()],
    ["its IPv6 gateway's", solicitation(GATEWAY.ipv6)],
  ])('the guest reaches the public Internet: %s', (_, frame) => {
    expect(guest().sends(frame)).toBeUndefined();
  });

  test.each([
    ...['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1', '127.0.0.1', '0.0.0.0'],
    ...['169.254.169.254', '169.254.170.2', '100.100.100.200', '168.63.129.16', '198.18.0.1', '192.0.0.1'],
    ...['224.0.0.251', '239.255.255.250', '255.255.255.255', '240.0.0.1'],
    ...['::1', '::', 'fe80::5', 'fc00::1', 'fd00:ec2::254', 'ff02::fb', 'fec0::1'],
    // Addresses that contain an IPv4 address: NAT64, 6to4 and its relays, Teredo, compatible,
    // translated, ISATAP under any prefix.
    ...['64:ff9b::a9fe:a9fe', '64:ff9b:1::a00:1', '2002:a9fe:a9fe::1', '192.88.99.1', '2001:0:1::1', '::10.0.0.1'],
    ...['::ffff:0:10.0.0.1', '2606:4700::5efe:10.0.0.1', '2606:4700::200:5efe:10.0.0.1'],
    // A router's port control, and addresses that are not assigned for unicast.
    ...['192.0.0.9', '2001:1::1', '100::1', '5f00::1', '4000::1', 'e000::1'],
    ...[GATEWAY.ipv4, GATEWAY.ipv6, RESOLVER],
  ])('%s is closed', (destination) => {
    expect(guest().sends(tcp({ destination }))).toBe('closed');
    expect(guest().sends(udp({ destination }))).toBe('closed');
    expect(guest().sends(icmp({ destination }))).toBe('closed');
  });

  test("the host's own addresses are closed, public ones and later ones too", () => {
    const closed = [PUBLIC];
    const { sends } = guest([], closed);
    expect(sends(tcp({ destination: PUBLIC }))).toBe('closed');
    expect(sends(tcp({ destination: PUBLIC_6 }))).toBeUndefined();
    closed.push('2606:4700::/64');
    expect(sends(tcp({ destination: PUBLIC_6, sourcePort: 40001 }))).toBe('closed');
    expect(guest([allow(PUBLIC)], closed).sends(tcp({ destination: PUBLIC }))).toBeUndefined();
  });

  test("the host's own addresses are read from its kernel", () => {
    const ranges = new HostAddresses().ranges(1);
    expect(ranges.some((range) => isInRange(range, parseAddress('127.0.0.1')))).toBe(true);
    const own = Object.values(networkInterfaces()).flatMap((each = []) => each.map(({ address }) => address));
    for (const address of own) expect(ranges.some((range) => isInRange(range, parseAddress(address)))).toBe(true);
  });
});

describe('attempts to bypass the policy', () => {
  const everything = [allow('0.0.0.0/0'), allow('::/0')];

  test.each([
    ['from another hardware address', tcp({ sourceMac: '02:00:00:00:00:09' }), 'spoofed'],
    ['from another address', tcp({ source: '198.19.0.9' }), 'spoofed'],
    ['from another IPv6 address', tcp({ source: '2606:4700::9', destination: PUBLIC_6 }), 'spoofed'],
    ['from its IPv4 address mapped to IPv6', tcp({ source: '::ffff:198.19.0.2', destination: PUBLIC_6 }), 'malformed'],
    ['to an IPv4 address mapped to IPv6', tcp({ destination: '::ffff:10.0.0.1' }), 'malformed'],
    ['through another neighbour', tcp({ destinationMac: '02:00:00:00:00:09' }), 'next-hop'],
    ['to all neighbours', udp({ destinationMac: 'ff:ff:ff:ff:ff:ff' }), 'next-hop'],
    ["asking for another neighbour's address", arp({ destination: '198.19.0.9' }), 'next-hop'],
    ['an ARP request with another address', arp({ source: '198.19.0.9' }), 'spoofed'],
    ["claiming the gateway's address", arp({ source: GATEWAY.ipv4, operation: 2 }), 'spoofed'],
    ['claiming its address for another hardware address', arp({ senderMac: '02:00:00:00:00:09' }), 'spoofed'],
    ['a RARP request for its own address', arp({ operation: 3 }), 'malformed'],
    ["claiming the IPv6 gateway's address", solicitation(GATEWAY.ipv6, { type: 136, ...toGateway }), 'spoofed'],
    ['advertising its address to a neighbour', solicitation(GUEST.ipv6, { type: 136 }), 'next-hop'],
    [
      "a solicitation with the gateway's hardware address",
      solicitation(GATEWAY.ipv6, { optionMac: GATEWAY.mac }),
      'spoofed',
    ],
    ['a solicitation to a remote address', solicitation(GATEWAY.ipv6, { destination: PUBLIC_6 }), 'next-hop'],
    [
      'a solicitation to one neighbour',
      solicitation(GATEWAY.ipv6, { destinationMac: '02:00:00:00:00:09' }),
      'next-hop',
    ],
    ['a solicitation with additional bytes', solicitation(GATEWAY.ipv6, { payload: Buffer.alloc(8, 1) }), 'malformed'],
    ['a solicitation with another option', solicitation(GATEWAY.ipv6, { option: 5 }), 'malformed'],
    ['a DHCP request', udp({ ...DHCP, destinationMac: 'ff:ff:ff:ff:ff:ff' }), 'spoofed'],
    ['a DHCP request from its own address', udp({ ...DHCP, source: GUEST.ipv4 }), 'closed'],
    ['a DHCPv6 request', udp({ destination: 'ff02::1:2', sourcePort: 546, destinationPort: 547 }), 'closed'],
    ['a solicitation for a neighbour', solicitation('fe80::9'), 'next-hop'],
    ['a solicitation from another IPv6 address', solicitation(GATEWAY.ipv6, { source: 'fe80::9' }), 'spoofed'],
    ['a first fragment', udp({ fragment: 0x2000 }), 'malformed'],
    ['a later fragment', udp({ fragment: 1 }), 'malformed'],
    ['IPv4 options', tcp({ options: 2 }), 'malformed'],
    ['an IPv6 fragment', tcp({ destination: PUBLIC_6, protocol: 44 }), 'malformed'],
    ['IPv6 hop-by-hop options', tcp({ destination: PUBLIC_6, protocol: 0 }), 'malformed'],
    ['IPv6 destination options', tcp({ destination: PUBLIC_6, protocol: 60 }), 'malformed'],
    ['an authentication header', tcp({ destination: PUBLIC_6, protocol: 51 }), 'malformed'],
    ['an IPv6 header without a payload', tcp({ destination: PUBLIC_6, protocol: 59 }), 'malformed'],
    ["the other family's ICMP", icmp({ protocol: 58 }), 'malformed'],
    ["the other family's ICMP by IPv6", icmp({ destination: PUBLIC_6, protocol: 1 }), 'malformed'],
    ['IPv6 with the EtherType of IPv4', ethernet(0x0800, tcp({ destination: PUBLIC_6 }).subarray(14)), 'malformed'],
    ['IPv4 with the EtherType of IPv6', ethernet(0x86dd, tcp().subarray(14)), 'malformed'],
    ['IGMP', tcp({ protocol: 2 }), 'malformed'],
    ['UDP-Lite', udp({ protocol: 136 }), 'malformed'],
    ['an IPv6 routing header', tcp({ destination: PUBLIC_6, protocol: 43 }), 'malformed'],
    ['IP in IP', tcp({ protocol: 4 }), 'malformed'],
    ['IPv6 in IPv4', tcp({ protocol: 41 }), 'malformed'],
    ['GRE', tcp({ protocol: 47 }), 'malformed'],
    ['SCTP', tcp({ protocol: 132 }), 'malformed'],
    ['a redirect', icmp({ type: 5 }), 'malformed'],
    ['a router advertisement', icmp({ destination: 'ff02::1', type: 134 }), 'malformed'],
    ['VLAN tags', ethernet(0x8100, tcp().subarray(12)), 'malformed'],
    ['provider VLAN tags', ethernet(0x88a8, tcp().subarray(12)), 'malformed'],
    ['LLDP', ethernet(0x88cc, Buffer.alloc(64)), 'malformed'],
    ['an echo reply', icmp({ type: 0 }), 'malformed'],
    ['an ICMP timestamp request', icmp({ type: 13 }), 'malformed'],
    ['PPPoE', ethernet(0x8864, Buffer.alloc(64)), 'malformed'],
    ['a length instead of an EtherType', ethernet(64, Buffer.alloc(64)), 'malformed'],
    ['a segment without a connection', tcp({ flags: ACK }), 'no-connection'],
    ['a SYN ACK without a SYN', tcp({ flags: SYN | ACK }), 'no-connection'],
    ['only an Ethernet header', Buffer.alloc(14), 'spoofed'],
  ])('are refused even if a rule allows everything: %s', (_, frame, reason) => {
    expect(guest(everything).sends(frame)).toBe(reason);
  });

  test('fail with a rule for the whole Internet: it opens no closed address', () => {
    for (const destination of ['10.0.0.1', '169.254.169.254', '127.0.0.1', 'fd00::1', 'fe80::9']) {
      expect(guest(everything).sends(tcp({ destination }))).toBe('closed');
    }
  });

  test('fail with the other address family: a rule for one does not open the other', () => {
    const { sends } = guest([allow('::/0')]);
    expect(sends(tcp({ destination: PUBLIC_6 }))).toBeUndefined();
    expect(sends(tcp({ destination: PUBLIC }))).toBe('not-allowed');
    expect(guest([deny('::/0')]).sends(tcp({ destination: PUBLIC }))).toBeUndefined();
    expect(guest([deny('0.0.0.0/0')]).sends(tcp({ destination: PUBLIC_6 }))).toBeUndefined();
  });

  test('fail with bytes after an ARP request: they are not sent', () => {
    const frame = new Frame();
    const padded = Buffer.concat([arp(), Buffer.from('secret')]);
    expect(frame.parse(padded, 0, padded.length) && frame.end).toBe(arp().length);
    expect(guest(everything).sends(padded)).toBeUndefined();
  });

  test("fail with a rule for link-local addresses: only the metadata service's own address opens it", () => {
    const linkLocal = guest([allow('169.254.0.0/16')]);
    expect(linkLocal.sends(tcp({ destination: '169.254.1.1' }))).toBeUndefined();
    expect(linkLocal.sends(tcp({ destination: '169.254.169.254' }))).toBe('closed');
    expect(guest([allow('169.254.169.254')]).sends(tcp({ destination: '169.254.169.254' }))).toBeUndefined();
  });

  test('fail with random and damaged frames: only a frame of known source, next hop and kind passes', () => {
    const { sends } = guest([allow('198.51.100.0/24', [443, 443])]);
    const bytes = fc.uint8Array({ maxLength: 120 });
    const damaged = fc
      .tuple(
        fc.constantFrom(tcp(), udp(), icmp(), arp(), tcp({ destination: PUBLIC_6 }), ask('example.com')),
        fc.array(fc.tuple(fc.nat({ max: 100 }), fc.nat({ max: 255 })), { maxLength: 4 }),
        fc.nat({ max: 100 }),
      )
      .map(([frame, edits, cut]) => {
        const copy = Buffer.from(frame).subarray(0, Math.max(0, frame.length - cut + 50));
        for (const [at, byte] of edits) if (at < copy.length) copy[at] = byte;
        return copy;
      });
    fc.assert(
      fc.property(fc.oneof(bytes, damaged), (frame) => {
        if (sends(Buffer.from(frame)) !== undefined) return;
        // A frame that passed is from the guest, to the gateway, and of an allowed kind.
        const parsed = new Frame();
        expect(parsed.parse(frame, 0, frame.length)).toBe(true);
        expect(parsed.end).toBeLessThanOrEqual(frame.length);
        expect(Buffer.from(frame.subarray(6, 12)).toString('hex')).toBe(GUEST.mac.replaceAll(':', ''));
        const isAllowed = parsed.isIPv4 && parsed.destination[3]! >>> 8 === 0xc63364 && parsed.destinationPort === 443;
        expect(isAllowed || parsed.kind === 1 || parsed.kind === 5).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('rules', () => {
  test('that allow destinations refuse everything else', () => {
    const { sends } = guest([allow('198.51.100.0/24', [443, 443]), allow('2606:4700::/32')]);
    expect(sends(tcp({ destination: '198.51.100.7', destinationPort: 443 }))).toBeUndefined();
    expect(sends(tcp({ destination: '198.51.100.7', destinationPort: 80 }))).toBe('not-allowed');
    expect(sends(icmp({ destination: '198.51.100.7' }))).toBe('not-allowed');
    expect(sends(tcp({ destination: PUBLIC }))).toBe('not-allowed');
    expect(sends(tcp({ destination: PUBLIC_6 }))).toBeUndefined();
    expect(sends(icmp({ destination: PUBLIC_6 }))).toBeUndefined();
    expect(sends(udp({ destination: '9.9.9.9', destinationPort: 53, payload: query('example.com') }))).toBe(
      'not-allowed',
    );
  });

  test('that deny have priority', () => {
    const { sends } = guest([allow('198.51.100.0/24'), deny('198.51.100.7')]);
    expect(sends(tcp({ destination: '198.51.100.8' }))).toBeUndefined();
    expect(sends(tcp({ destination: '198.51.100.7' }))).toBe('denied');
  });

  test('that only deny leave everything else allowed', () => {
    const { sends } = guest([deny('203.0.113.0/24', [25, 25])]);
    expect(sends(tcp({ destination: PUBLIC }))).toBeUndefined();
    expect(sends(tcp({ destination: PUBLIC, destinationPort: 25 }))).toBe('denied');
  });

  test('that name private addresses open them', () => {
    const { sends } = guest([allow('10.1.0.0/16', [5432, 5432])]);
    expect(sends(tcp({ destination: '10.1.2.3', destinationPort: 5432 }))).toBeUndefined();
    expect(sends(tcp({ destination: '10.1.2.3', destinationPort: 22 }))).toBe('closed');
    expect(sends(tcp({ destination: '10.2.0.1', destinationPort: 5432 }))).toBe('closed');
  });
});

describe('rules of names', () => {
  const rules = [allowName('example.com', [443, 443]), allowName('*.example.org')];
  const to = (destination: string, destinationPort = 443) => tcp({ destination, destinationPort });

  test("apply to the addresses in the resolver's answers to the guest", () => {
    const { sends, gets } = guest(rules);
    expect(sends(to(PUBLIC))).toBe('not-allowed');
    expect(sends(ask('EXAMPLE.com'))).toBeUndefined();
    gets(told('example.com', [{ alias: 'cdn.example.net' }, { owner: 'cdn.example.net', address: PUBLIC }]));
    expect(sends(to(PUBLIC))).toBeUndefined();
    expect(sends(to(PUBLIC, 80))).toBe('not-allowed');
    expect(sends(to('203.0.113.2'))).toBe('not-allowed');
  });

  test('with a wildcard match only names below the name', () => {
    const { sends, gets } = guest(rules);
    expect(sends(ask('www.example.org'))).toBeUndefined();
    expect(sends(ask('example.org'))).toBe('name');
    expect(sends(ask('badexample.org'))).toBe('name');
    gets(told('www.example.org', [{ address: PUBLIC }]));
    expect(sends(to(PUBLIC, 1234))).toBeUndefined();
  });

  test('refuse queries for other names, which could carry data out', () => {
    const { sends } = guest(rules);
    expect(sends(ask('c2VjcmV0.attacker.example'))).toBe('name');
    expect(sends(udp({ destination: RESOLVER, destinationPort: 53, payload: Buffer.from('secret') }))).toBe('name');
    expect(sends(tcp({ destination: RESOLVER, destinationPort: 53 }))).toBe('name');
    const padded = Buffer.concat([query('example.com'), Buffer.from('secret')]);
    expect(sends(udp({ destination: RESOLVER, destinationPort: 53, payload: padded }))).toBe('name');
    const fits = ask('example.com');
    expect(sends(Buffer.concat([fits, Buffer.from('behind the packet')]))).toBeUndefined();
  });

  test("accept only the resolver's answers to the guest's own queries", () => {
    const cases: [string, (answers: Answer[]) => Buffer][] = [
      ['another server', (answers) => told('example.com', answers, { source: '9.9.9.9' })],
      ['another port of the resolver', (answers) => told('example.com', answers, { sourcePort: 54 })],
      ['another port of the guest', (answers) => told('example.com', answers, { destinationPort: 40001 })],
      ['another ID', (answers) => told('', [], { payload: answer('example.com', answers, 8) })],
      ['another name', (answers) => told('example.net', answers)],
      ['another type', (answers) => told('', [], { payload: answer('example.com', answers, 7, 28) })],
      ['a record of another name', (answers) => told('example.com', [{ ...answers[0], owner: 'evil.example' }])],
    ];
    for (const [, made] of cases) {
      const { sends, gets } = guest(rules);
      sends(ask('example.com'));
      gets(made([{ address: PUBLIC }]));
      expect(sends(to(PUBLIC))).toBe('not-allowed');
      gets(told('example.com', [{ address: PUBLIC }]));
      expect(sends(to(PUBLIC))).toBeUndefined();
    }
  });

  test('do not open closed addresses', () => {
    const { sends, gets } = guest(rules);
    sends(ask('example.com'));
    gets(told('example.com', [{ address: '169.254.169.254' }, { address: '10.0.0.1' }]));
    expect(sends(to('169.254.169.254'))).toBe('closed');
    expect(sends(to('10.0.0.1'))).toBe('closed');
  });

  test('apply for the lifetime of the answer, at least a minute; open connections continue', () => {
    const { sends, gets } = guest(rules);
    sends(ask('example.com'));
    gets(told('example.com', [{ address: PUBLIC, timeToLive: 1 }]));
    expect(sends(to(PUBLIC), 60)).toBeUndefined();
    expect(sends(to(PUBLIC), 62)).toBe('not-allowed');
    expect(sends(tcp({ destination: PUBLIC, destinationPort: 443, flags: ACK }), 10_000)).toBeUndefined();
  });

  test('that deny refuse queries and connections', () => {
    const { sends, gets } = guest([{ allow: false, name: 'example.com' }]);
    expect(sends(ask('example.com'))).toBe('name');
    expect(sends(ask('example.net'))).toBeUndefined();
    expect(sends(to(PUBLIC))).toBeUndefined();
    const byPort = guest([{ allow: false, name: 'example.com', ports: [80, 80] }]);
    expect(byPort.sends(ask('example.com'))).toBeUndefined();
    byPort.gets(told('example.com', [{ address: PUBLIC }]));
    expect(byPort.sends(to(PUBLIC, 80))).toBe('denied');
    expect(byPort.sends(to(PUBLIC, 443))).toBeUndefined();
    gets(told('example.com', [{ address: PUBLIC }]));
  });

  test('allow any query if another rule names the resolver', () => {
    const { sends } = guest([...rules, allow(RESOLVER, [53, 53])]);
    expect(sends(ask('anything.example'))).toBeUndefined();
    expect(sends(tcp({ destination: RESOLVER, destinationPort: 53 }))).toBeUndefined();
  });
});

describe('connections from outside', () => {
  const inbound = { sourceMac: GATEWAY.mac, destinationMac: GUEST.mac, source: '192.168.1.5', destination: GUEST.ipv4 };

  test('may be answered from any address, and only to their sender', () => {
    const { sends, gets } = guest();
    const reply = { destination: '192.168.1.5', sourcePort: 80, destinationPort: 50000 };
    expect(sends(tcp({ ...reply, flags: SYN | ACK }))).toBe('no-connection');
    gets(tcp({ ...inbound, sourcePort: 50000, destinationPort: 80 }));
    expect(sends(tcp({ ...reply, flags: SYN | ACK }))).toBeUndefined();
    expect(sends(tcp({ ...reply, flags: ACK }))).toBeUndefined();
    expect(sends(tcp({ ...reply, destinationPort: 50001, flags: ACK }))).toBe('no-connection');
    // A new connection by the guest is still refused.
    expect(sends(tcp(reply))).toBe('closed');
  });

  test('with datagrams may be answered for some minutes', () => {
    const { sends, gets } = guest();
    const reply = { destination: '192.168.1.5', sourcePort: 53, destinationPort: 50000 };
    expect(sends(udp(reply))).toBe('closed');
    gets(udp({ ...inbound, sourcePort: 50000, destinationPort: 53 }));
    expect(sends(udp(reply), 100)).toBeUndefined();
    expect(sends(udp(reply), 279)).toBeUndefined();
    expect(sends(udp(reply), 500)).toBe('closed');
  });
});

test('a packet with inconsistent lengths is malformed', () => {
  const { sends } = guest();
  const frame = ip(6, Buffer.alloc(20), { destination: PUBLIC });
  for (const length of [0, 19, 41, 65535]) {
    const copy = Buffer.from(frame);
    copy.writeUInt16BE(length, 16);
    expect(sends(copy)).toBe('malformed');
  }
});
