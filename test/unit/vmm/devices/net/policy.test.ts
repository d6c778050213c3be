// The network policy: which frames a guest may send. Everything that is not allowed is refused.

import { networkInterfaces } from 'node:os';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isInRange, parseAddress, parseRange } from '../../../../../addresses/ip.js';
import type { ForgottenFlow } from '../../../../../vmm/devices/net/flows.js';
import { Frame, UDP } from '../../../../../vmm/devices/net/frame.js';
import { addChecksum, foldChecksum } from '../../../../../vmm/devices/net/header.js';
import { Policy } from '../../../../../vmm/devices/net/policy.js';
import type { EgressSpec, NetworkRule, PublishedPorts } from '../../../../../vmm/machine.js';
import { HostAddresses } from '../../../../../vmm/outside/host-addresses.js';
import { openRouteSocket } from '../../../../../vmm/outside/route-socket.js';
import {
  ACK,
  type Answer,
  answer,
  arp,
  ethernet,
  FIN,
  type FrameFields,
  GATEWAY,
  GUEST,
  icmp,
  ip,
  PEER_RANGES,
  query,
  RST,
  SYN,
  solicitation,
  tcp,
  udp,
} from '../../../../fixtures/frames.js';

const RESOLVER = '10.255.255.53';
const PUBLIC_RESOLVER = '8.8.8.8';
const PUBLIC = '203.0.113.1';
const PUBLIC_6 = '2606:4700::1111';
const DHCP = { source: '0.0.0.0', destination: '255.255.255.255', sourcePort: 68, destinationPort: 67 };
const toGateway = { destination: GATEWAY.ipv6, destinationMac: GATEWAY.mac };

test('the proxy is reached by TCP at its ports, whatever the rules say', () => {
  const egress = { address: '198.19.0.4', ports: [443], names: [] };
  const to = (destinationPort: number) => ({ destination: egress.address, destinationPort });
  for (const rules of [[], [{ allow: true, range: PUBLIC }], [{ allow: false, range: '0.0.0.0/0' }]]) {
    const { sends } = guest(rules, { egress });
    expect(sends(tcp({ ...to(443), flags: SYN }))).toBeUndefined();
    expect(sends(tcp({ ...to(80), flags: SYN }))).toMatch(/closed|denied/);
    expect(sends(udp(to(443)))).toMatch(/closed|denied/);
  }
  expect(guest([]).sends(tcp({ ...to(443), flags: SYN }))).toBe('closed');
});

interface Guest {
  policy: Policy;
  /** Returns the reason for which the frame is refused; undefined if it passes. */
  sends(frame: Buffer, now?: number): string | undefined;
  /** Returns what becomes of a frame to the guest. */
  gets(frame: Buffer, now?: number): string;
  /** The frame that left last. */
  sent: Buffer;
  /** The guest gets an answer to the question that left last. Returns what it gets. */
  told(name: string, answers: Answer[], fields?: ToldFields, now?: number): Buffer | string;
  forgotten: ForgottenFlow[];
}

interface ToldFields extends FrameFields {
  id?: number;
  type?: number;
  truncated?: boolean;
}

interface GuestOptions {
  closed?: string[];
  maxConnections?: number;
  published?: PublishedPorts[];
  resolvers?: string[];
  egress?: EgressSpec;
}

function guest(
  rules: NetworkRule[] = [],
  {
    closed = [],
    maxConnections = 1000,
    published = [],
    resolvers = [RESOLVER, PUBLIC_RESOLVER],
    egress,
  }: GuestOptions = {},
): Guest {
  const forgotten: ForgottenFlow[] = [];
  const policy = new Policy({
    mac: GUEST.mac,
    gatewayMac: GATEWAY.mac,
    addresses: [GUEST.ipv4, GUEST.ipv6, GUEST.local],
    gateways: [GATEWAY.ipv4, GATEWAY.ipv6],
    resolvers,
    peerRanges: PEER_RANGES,
    maxConnections,
    rules,
    backEnd: { kind: 'relay', ports: published, reachHost: false, ...(egress === undefined ? {} : { egress }) },
    host: { ranges: () => closed.map(parseRange) },
    onForgotten: (flow) => forgotten.push(flow),
  });
  const frame = new Frame();
  const departed = new Frame();
  const it: Guest = {
    policy,
    forgotten,
    sent: Buffer.alloc(0),
    sends: (bytes, now = 1) => {
      const copy = Buffer.from(bytes);
      frame.parse(copy, 0, copy.length);
      const reason = policy.outgoing(frame, copy, copy.length, now);
      if (reason !== undefined) return reason;
      policy.departs(frame, copy, false, now);
      // The relay reads the parsed frame, not the bytes.
      departed.parse(copy, 0, copy.length);
      if (frame.kind === UDP) expect(frame.sourcePort).toBe(departed.sourcePort);
      it.sent = copy;
      return undefined;
    },
    gets: (bytes, now = 1) => {
      frame.parse(bytes, 0, bytes.length);
      return policy.incoming(frame, now);
    },
    told: (name, answers, fields = {}, now = 1) => {
      const { id = it.sent.readUInt16BE(42), type = 1, truncated = false } = fields;
      const payload = answer(name, answers, id, type);
      if (truncated) payload[2] = payload[2]! | 2;
      const source = it.sent.subarray(30, 34).join('.');
      const bytes = udp({
        ...{ sourceMac: GATEWAY.mac, destinationMac: GUEST.mac, source, destination: GUEST.ipv4 },
        ...{ sourcePort: 53, destinationPort: it.sent.readUInt16BE(34), payload },
        ...fields,
      });
      const arrival = it.gets(bytes, now);
      if (arrival !== 'answer') return arrival;
      const translated = policy.translate(frame, bytes, false, now);
      if (translated === undefined) return 'dropped';
      policy.answered(frame, bytes, 0, now);
      return Buffer.from(translated);
    },
  };
  return it;
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
/** Returns true if the UDP checksum of an IPv4 frame is right. */
function checksumIsRight(frame: Buffer): boolean {
  const length = frame.length - 34;
  return foldChecksum(addChecksum(frame, 34, length, addChecksum(frame, 26, 8, 17 + length))) === 0;
}

describe('by default', () => {
  test.each([
    ['TCP', tcp({ destination: PUBLIC })],
    ['TCP by IPv6', tcp({ destination: PUBLIC_6 })],
    ['UDP', udp({ destination: PUBLIC })],
    ['ping', icmp({ destination: PUBLIC })],
    ['ping by IPv6', icmp({ destination: PUBLIC_6 })],
    ['a name server that the guest chose', udp({ destination: '9.9.9.9', destinationPort: 53, payload: query('a.b') })],
    ['its resolver', ask('example.com')],
    ['a public resolver of its own, by TCP', tcp({ destination: PUBLIC_RESOLVER, destinationPort: 53 })],
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
    const { sends } = guest([], { closed });
    expect(sends(tcp({ destination: PUBLIC }))).toBe('closed');
    expect(sends(tcp({ destination: PUBLIC_6 }))).toBeUndefined();
    closed.push('2606:4700::/64');
    expect(sends(tcp({ destination: PUBLIC_6, sourcePort: 40001 }))).toBe('closed');
    expect(guest([allow(PUBLIC)], { closed }).sends(tcp({ destination: PUBLIC }))).toBeUndefined();
  });

  test("the host's own addresses are read from its kernel", () => {
    const ranges = new HostAddresses(openRouteSocket()).ranges(1);
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
    const { sends, told } = guest(rules);
    expect(sends(to(PUBLIC))).toBe('not-allowed');
    expect(sends(ask('EXAMPLE.com'))).toBeUndefined();
    told('example.com', [{ alias: 'cdn.example.net' }, { owner: 'cdn.example.net', address: PUBLIC }]);
    expect(sends(to(PUBLIC))).toBeUndefined();
    expect(sends(to(PUBLIC, 80))).toBe('not-allowed');
    expect(sends(to('203.0.113.2'))).toBe('not-allowed');
  });

  test('with a wildcard match only names below the name', () => {
    const { sends, told } = guest(rules);
    expect(sends(ask('www.example.org'))).toBeUndefined();
    expect(sends(ask('example.org'))).toBe('name');
    expect(sends(ask('badexample.org'))).toBe('name');
    told('www.example.org', [{ address: PUBLIC }]);
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

  test('accept only the answer to the question that the device asked', () => {
    const cases: [string, string, ToldFields][] = [
      ['another server', 'example.com', { source: '9.9.9.9' }],
      ['another port of the resolver', 'example.com', { sourcePort: 54 }],
      ["the guest's own port", 'example.com', { destinationPort: 40000 }],
      ['another ID', 'example.com', { id: 7 }],
      ['another name', 'example.net', {}],
      ['another type', 'example.com', { type: 28 }],
    ];
    for (const [, name, fields] of cases) {
      const { sends, told } = guest(rules);
      sends(ask('example.com'));
      told(name, [{ address: PUBLIC }], fields);
      expect(sends(to(PUBLIC))).toBe('not-allowed');
      sends(ask('example.com'));
      told('example.com', [{ owner: 'evil.example', address: PUBLIC }]);
      expect(sends(to(PUBLIC))).toBe('not-allowed');
      sends(ask('example.com'));
      told('example.com', [{ address: PUBLIC }]);
      expect(sends(to(PUBLIC))).toBeUndefined();
    }
  });

  test("ask with an ID and a port of the device's own, and give the guest its own back", () => {
    const it = guest(rules);
    const asked = Array.from({ length: 40 }, (_, index) => {
      expect(it.sends(ask('example.com', { payload: query('example.com', index), sourcePort: 2000 + index }))).toBe(
        undefined,
      );
      expect(checksumIsRight(it.sent)).toBe(true);
      return `${it.sent.readUInt16BE(34)} ${it.sent.readUInt16BE(42)}`;
    });
    expect(new Set(asked).size).toBe(40);
    const got = it.told('example.com', [{ address: PUBLIC }]) as Buffer;
    expect([got.readUInt16BE(36), got.readUInt16BE(42)]).toEqual([2039, 39]);
    expect(checksumIsRight(got)).toBe(true);
  });

  test('accept one answer for each question', () => {
    const { sends, told } = guest(rules);
    sends(ask('example.com'));
    expect(told('example.com', [{ address: '203.0.113.2' }])).toBeInstanceOf(Buffer);
    expect(told('example.com', [{ address: PUBLIC }])).toBe('dropped');
    expect(sends(to(PUBLIC))).toBe('not-allowed');
  });

  test('accept no answer that is late', () => {
    const { sends, told } = guest(rules);
    sends(ask('example.com'), 1);
    expect(told('example.com', [{ address: PUBLIC }], {}, 32)).not.toBeInstanceOf(Buffer);
    expect(sends(to(PUBLIC), 32)).toBe('not-allowed');
  });

  test('repeat a question that the guest repeats', () => {
    const it = guest(rules);
    it.sends(ask('example.com'));
    const first = it.sent;
    it.sends(ask('example.com'));
    expect(it.sent).toEqual(first);
    it.sends(ask('example.com', { sourcePort: 40001 }));
    expect(it.sent).not.toEqual(first);
  });

  test('are not opened by datagrams at a published port', () => {
    const published: PublishedPorts[] = [{ protocol: 'udp', host: 5000, guest: 40000, count: 2 }];
    const { sends, gets } = guest(rules, { published });
    sends(ask('example.com'));
    const forged = (fields: FrameFields) =>
      udp({
        ...{ sourceMac: GATEWAY.mac, destinationMac: GUEST.mac, source: RESOLVER, sourcePort: 53 },
        ...{ destination: GUEST.ipv4, payload: answer('example.com', [{ address: PUBLIC }]), ...fields },
      });
    for (const destinationPort of [40000, 40001]) expect(gets(forged({ destinationPort }))).toBe('pass');
    expect(sends(to(PUBLIC))).toBe('not-allowed');
  });

  test('never ask from a published port', () => {
    const published: PublishedPorts[] = [{ protocol: 'udp', host: 1, guest: 1, count: 65_000 }];
    const it = guest(rules, { published });
    for (let id = 0; id < 20; id++) {
      it.sends(ask('example.com', { payload: query('example.com', id) }));
      expect(it.sent.readUInt16BE(34)).toBeGreaterThan(65_000);
    }
  });

  test('drop an answer of random bytes, or of a damaged answer, and learn nothing false', () => {
    const damage = fc.record({ at: fc.integer({ min: 0, max: 60 }), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(
        fc.array(damage, { minLength: 1, maxLength: 6 }),
        fc.uint8Array({ maxLength: 80 }),
        (changes, random) => {
          const { sends, told } = guest(rules);
          sends(ask('example.com'));
          const real = Buffer.from(answer('example.com', [{ address: PUBLIC }], 0));
          for (const { at, value } of changes) real[at % real.length] = value;
          for (const payload of [real, Buffer.from(random)]) {
            const got = told('', [], { payload });
            expect(got === 'dropped' || Buffer.isBuffer(got)).toBe(true);
          }
          expect(sends(to('198.51.100.99'))).toBe('not-allowed');
        },
      ),
    );
  });

  test("an error without a question reaches the guest if its ID is the device's", () => {
    const it = guest(rules);
    it.sends(ask('example.com'));
    const bare = (id: number) => Buffer.of(id >> 8, id & 255, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0);
    const id = it.sent.readUInt16BE(42);
    expect(it.told('', [], { payload: bare(id ^ 1) })).toBe('dropped');
    expect((it.told('', [], { payload: bare(id) }) as Buffer).readUInt16BE(42)).toBe(7);
  });

  test('do not open closed addresses', () => {
    const { sends, told } = guest(rules);
    sends(ask('example.com'));
    told('example.com', [{ address: '169.254.169.254' }, { address: '10.0.0.1' }]);
    expect(sends(to('169.254.169.254'))).toBe('closed');
    expect(sends(to('10.0.0.1'))).toBe('closed');
  });

  test('apply for the lifetime of the answer, at least a minute; open connections continue', () => {
    const { sends, told } = guest(rules);
    sends(ask('example.com'));
    told('example.com', [{ address: PUBLIC, timeToLive: 1 }]);
    expect(sends(to(PUBLIC), 60)).toBeUndefined();
    expect(sends(to(PUBLIC), 62)).toBe('not-allowed');
    expect(sends(tcp({ destination: PUBLIC, destinationPort: 443, flags: ACK }), 10_000)).toBeUndefined();
  });

  test('that deny refuse queries and connections', () => {
    const { sends, told } = guest([{ allow: false, name: 'example.com' }]);
    expect(sends(ask('example.com'))).toBe('name');
    expect(sends(ask('example.net'))).toBeUndefined();
    expect(sends(to(PUBLIC))).toBeUndefined();
    const byPort = guest([{ allow: false, name: 'example.com', ports: [80, 80] }]);
    expect(byPort.sends(ask('example.com'))).toBeUndefined();
    byPort.told('example.com', [{ address: PUBLIC }]);
    expect(byPort.sends(to(PUBLIC, 80))).toBe('denied');
    expect(byPort.sends(to(PUBLIC, 443))).toBeUndefined();
    told('example.com', [{ address: PUBLIC }]);
  });

  test('allow any query if another rule names the resolver', () => {
    const { sends } = guest([...rules, allow(RESOLVER, [53, 53])]);
    expect(sends(ask('anything.example'))).toBeUndefined();
    expect(sends(tcp({ destination: RESOLVER, destinationPort: 53 }))).toBeUndefined();
  });
});

describe('a resolver in a closed range', () => {
  const dns = (message: Uint8Array, fields: FrameFields = {}) =>
    udp({ destination: RESOLVER, destinationPort: 53, payload: message, ...fields });
  const withOpcode = (opcode: number) => {
    const message = query('example.com');
    message[2] = opcode << 3;
    return message;
  };
  const segment = (payload: Uint8Array, flags = ACK) =>
    tcp({ destination: RESOLVER, destinationPort: 53, flags, payload });
  const prefixed = (...messages: Buffer[]) =>
    Buffer.concat(messages.flatMap((message) => [Buffer.of(message.length >> 8, message.length), message]));

  test.each([
    ['an update of a zone', withOpcode(5)],
    ['a notification', withOpcode(4)],
    ['a status request', withOpcode(2)],
    ['bytes of any kind', Buffer.alloc(1400, 'x')],
    ['a response', answer('example.com', [])],
    ['a query with bytes behind it', Buffer.concat([query('example.com'), Buffer.from('secret')])],
    ['IXFR', query('example.com', 7, 251)],
    ['AXFR', query('example.com', 7, 252)],
    ['ANY', query('example.com', 7, 255)],
    ['TKEY', query('example.com', 7, 249)],
  ])('gets no %s', (_, message) => {
    expect(guest().sends(dns(message))).toBe('name');
    // A rule that names the resolver allows it.
    expect(guest([allow(RESOLVER, [53, 53])]).sends(dns(message))).toBeUndefined();
    // The range may be the host's own.
    const own = { closed: ['8.8.8.0/24'] };
    expect(guest([], own).sends(dns(message, { destination: PUBLIC_RESOLVER }))).toBe('name');
    expect(guest().sends(dns(message, { destination: PUBLIC_RESOLVER }))).toBeUndefined();
  });

  test.each([1, 2, 5, 6, 12, 15, 16, 28, 33, 64, 65])('is asked for records of type %i', (type) => {
    expect(guest().sends(dns(query('_sip._tcp.example.com', 7, type)))).toBeUndefined();
  });

  test('is asked by TCP after a truncated answer only', () => {
    const { sends, told } = guest();
    expect(sends(segment(Buffer.alloc(0), SYN))).toBe('name');
    sends(dns(query('example.com')));
    told('example.com', [{ address: PUBLIC }]);
    expect(sends(segment(Buffer.alloc(0), SYN))).toBe('name');
    sends(dns(query('example.com')));
    told('example.com', [], { truncated: true });
    expect(sends(segment(Buffer.alloc(0), SYN))).toBeUndefined();
    expect(sends(segment(Buffer.alloc(0)))).toBeUndefined();
    expect(sends(segment(prefixed(query('example.com'))))).toBeUndefined();
    // As a C library asks for both kinds of addresses.
    expect(sends(segment(prefixed(query('example.com', 1), query('example.com', 2, 28))))).toBeUndefined();
  });

  test.each([
    ['another name', prefixed(query('example.net'))],
    ['a transfer', prefixed(query('example.com', 7, 252))],
    ['an update', prefixed(withOpcode(5))],
    ['an update behind a query', prefixed(query('example.com'), withOpcode(5))],
    ['half a message', prefixed(query('example.com')).subarray(0, -1)],
    ['bytes behind a message', Buffer.concat([prefixed(query('example.com')), Buffer.of(0)])],
    ['a length alone', Buffer.of(0, 29)],
  ])('gets no %s by TCP', (_, payload) => {
    const { sends, told } = guest();
    sends(dns(query('example.com')));
    told('example.com', [], { truncated: true });
    expect(sends(segment(Buffer.alloc(0), SYN))).toBeUndefined();
    expect(sends(segment(payload))).toBe('name');
  });

  test('is asked by TCP for some seconds after a truncated answer', () => {
    const { sends, told } = guest();
    sends(dns(query('example.com')));
    told('example.com', [], { truncated: true });
    expect(sends(segment(Buffer.alloc(0), SYN), 32)).toBe('name');
  });
});

describe('the limit of connections', () => {
  const open = (sourcePort: number) => tcp({ destination: PUBLIC, sourcePort });
  const reply = (sourcePort: number, flags: number) =>
    tcp({
      ...{ sourceMac: GATEWAY.mac, destinationMac: GUEST.mac, source: PUBLIC, sourcePort: 80 },
      ...{ destination: GUEST.ipv4, destinationPort: sourcePort, flags },
    });
  const more = (sourcePort: number, flags: number) => tcp({ destination: PUBLIC, sourcePort, flags });

  test('refuses one more, from either side, and lets it through once another has ended', () => {
    const { sends, gets } = guest([], { maxConnections: 2 });
    for (const port of [1, 2]) {
      expect(sends(open(port))).toBeUndefined();
      expect(gets(reply(port, SYN | ACK))).toBe('pass');
    }
    expect(sends(open(3))).toBe('limit');
    const inbound = tcp({ source: PUBLIC, sourcePort: 9, destination: GUEST.ipv4, destinationPort: 80 });
    expect(gets(inbound)).toBe('limit');
    expect(sends(udp({ destination: PUBLIC }))).toBe('limit');
    expect(sends(more(1, ACK))).toBeUndefined();
    expect(gets(reply(1, RST))).toBe('pass');
    expect(sends(open(3))).toBeUndefined();
    expect(sends(more(1, ACK))).toBe('no-connection');
    expect(sends(more(2, ACK))).toBeUndefined();
  });

  test('lets 16,000 short connections pass beside 30 open ones, which still answer', () => {
    const { sends, gets } = guest([], { maxConnections: 16_384 });
    const idle = Array.from({ length: 30 }, (_, index) => 1000 + index);
    for (const port of idle) {
      expect(sends(open(port))).toBeUndefined();
      gets(reply(port, SYN | ACK));
      sends(more(port, ACK));
    }
    for (let count = 0; count < 20_000; count++) {
      const port = 2000 + count;
      if (sends(open(port), 2) !== undefined) throw new Error(`connection ${count} is refused`);
      gets(reply(port, SYN | ACK), 2);
      sends(more(port, ACK | FIN), 2);
      gets(reply(port, ACK | FIN), 2);
    }
    for (const port of idle) {
      expect(gets(reply(port, ACK), 3)).toBe('pass');
      expect(sends(more(port, ACK), 3)).toBeUndefined();
    }
  });

  test('does not count queries to the resolver', () => {
    const { sends } = guest([], { maxConnections: 1 });
    sends(open(1));
    for (let id = 0; id < 100; id++) {
      expect(sends(ask('example.com', { sourcePort: 1000 + id }))).toBeUndefined();
      expect(sends(ask('example.com', { sourcePort: 1000 + id, destination: PUBLIC_RESOLVER }))).toBeUndefined();
    }
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
