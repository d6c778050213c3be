// The plan of a container's network agrees between guest and machine, and follows the options and
// the host's network.
import { describe, expect, test } from 'vitest';
import type { ContainerNetworks } from '../../../../sandbox/home/networks.js';
import {
  connectedAddress,
  defaultInterface,
  defaultInterface6,
  type HostNetwork,
  hostResolver,
} from '../../../../sandbox/run/host-network.js';
import { planNetwork } from '../../../../sandbox/run/network-plan.js';
import { checkNetwork, type NetworkOptions } from '../../../../sandbox/spec/network.js';
import { Policy } from '../../../../vmm/devices/net/policy.js';
import { parseLocalAddresses } from '../../../../vmm/local-addresses.js';

const host: HostNetwork = {
  ipv4: 'eth0',
  ipv6: 'eth1',
  resolver: { nameservers: ['10.1.1.1', '127.0.0.53', '2001:db8::53'], settings: ['search example.com'] },
};

const plan = (options: NetworkOptions = {}, of: HostNetwork = host, networks?: ContainerNetworks) =>
  planNetwork(options, of, { id: '00010203aabb', networks })!;

describe('the plan of a network', () => {
  test('gives guest and machine the same addresses, which make a valid policy', () => {
    const { machine, guest } = plan({ allow: ['example.com:443', 'host-gateway:80'], deny: ['10.0.0.0/8'] });
    expect(guest.addresses).toEqual(['198.19.7.12/32', 'fd74:7376:6d::c613:70c/128']);
    expect(guest.gateways).toEqual(machine.gateways);
    expect(machine.addresses).toEqual(['198.19.7.12', 'fd74:7376:6d::c613:70c', 'fe80::74:c6ff:fe13:70c']);
    expect(() => new Policy({ ...machine, host: { ranges: () => [] }, onForgotten: () => {} })).not.toThrow();
  });

  test('has IPv6 if the host has it', () => {
    const { machine, guest, resolvConf } = plan({}, { ...host, ipv6: undefined });
    expect(guest.addresses).toEqual(['198.19.7.12/32']);
    expect(machine.gateways).toEqual(['198.19.0.1']);
    expect(resolvConf).toBe('nameserver 10.1.1.1\nsearch example.com\n');
  });

  test('leads hosts whose requests get secrets to the proxy, and has no other with such a network', () => {
    const secret = { token: 'x'.repeat(16), value: 'y' };
    const placeholders = [
      { ...secret, hosts: ['a.example', 'b.example'] },
      { ...secret, hosts: ['b.example'] },
    ];
    const planned = planNetwork({}, host, { id: '00010203aabb', placeholders })!;
    expect(planned.hosts).toEqual(['a.example', 'b.example'].map((name) => ({ name, address: '198.19.0.4' })));
    expect(planned.machine.backEnd).toMatchObject({
      egress: { address: '198.19.0.4', ports: [443], names: ['a.example', 'b.example'] },
    });
    const plain = planNetwork({}, host, { id: '00010203aabb', placeholders: [{ ...placeholders[0]!, http: true }] })!;
    expect(plain.machine.backEnd).toMatchObject({ egress: { ports: [443, 80] } });
    expect(plan().hosts).toEqual([]);
    expect(plan().machine.backEnd).not.toHaveProperty('egress');
    const refused = expect.objectContaining({ code: 'bad-spec' });
    expect(() => planNetwork({ mode: 'none' }, host, { id: '00010203aabb', placeholders })).toThrow(refused);
    const networks = { peers: [], internal: true };
    expect(() => planNetwork({}, host, { id: '00010203aabb', networks, placeholders })).toThrow(refused);
  });

  test('is undefined for mode none', () => {
    expect(planNetwork({ mode: 'none' }, host, { id: '00010203aabb' })).toBeUndefined();
  });

  test('publishes with publishAll the exposed ports that are not published yet', () => {
    const options = { publishAll: true, publish: ['8080:80'], expose: ['53/udp', '9000-9001'] };
    const exposed = ['80/tcp', '443', '53/udp', 'nonsense', '99999/tcp'];
    const { backEnd } = planNetwork(options, host, { id: '00010203aabb', exposed })!.machine;
    const free = { host: 0, count: 1 };
    expect(backEnd).toMatchObject({
      ports: [
        { protocol: 'tcp', host: 8080, guest: 80, count: 1 },
        { protocol: 'tcp', guest: 443, ...free },
        { protocol: 'udp', guest: 53, ...free },
        { protocol: 'tcp', guest: 9000, ...free },
        { protocol: 'tcp', guest: 9001, ...free },
      ],
    });
    expect(plan({ expose: ['80'] }).machine.backEnd).toMatchObject({ ports: [] });
  });

  test('is optional unless the options ask for a network', () => {
    expect(plan().machine.optional).toBe(true);
    for (const options of [
      { mode: 'default' },
      { publish: ['80:80'] },
      { publishAll: true },
      { dns: ['9.9.9.9'] },
      { allow: ['10.0.0.1'] },
    ]) {
      expect(plan(options).machine.optional).toBe(false);
    }
  });

  test("has the resolvers of the options, or the host's without those on its loopback interface", () => {
    expect(plan().resolvConf).toBe('nameserver 10.1.1.1\nnameserver 2001:db8::53\nsearch example.com\n');
    expect(plan({ dns: ['9.9.9.9'] }).machine.resolvers).toEqual(['9.9.9.9']);
    const settings = (options: NetworkOptions) => plan(options).resolvConf.split('\n').slice(2, -1);
    expect(settings({ dnsSearch: ['a.example', 'b.example'] })).toEqual(['search a.example b.example']);
    expect(settings({ dnsSearch: ['.'] })).toEqual([]);
    expect(settings({ dnsOptions: ['ndots:2', 'rotate'] })).toEqual(['search example.com', 'options ndots:2 rotate']);
    const local = plan({}, { ...host, resolver: { nameservers: ['127.0.0.53'], settings: [] } });
    expect(local.machine.resolvers).toEqual(['198.19.0.3']);
    expect(local.machine.backEnd).toMatchObject({ dns: { address: '198.19.0.3', resolver: '127.0.0.53' } });
  });

  test('opens the host only if a rule names it', () => {
    expect(plan().machine.backEnd).toMatchObject({ reachHost: false });
    expect(plan({ allow: ['0.0.0.0/0'] }).machine.backEnd).toMatchObject({ reachHost: false });
    expect(plan({ deny: ['host-gateway'] }).machine.backEnd).toMatchObject({ reachHost: false });
    expect(plan({ allow: ['host-gateway:80'] }).machine.backEnd).toMatchObject({ reachHost: true });
  });

  test('is the default by its names in Docker and in older records', () => {
    for (const mode of ['default', 'bridge', 'passt']) {
      expect(() => checkNetwork({ mode })).not.toThrow();
      expect(plan({ mode }).machine.backEnd).toEqual(plan().machine.backEnd);
    }
  });

  test('of a private network looks up names of peers first, and reaches the Internet unless all its networks are internal', () => {
    const peers = [{ name: 'lan', folder: '/nowhere', names: ['web'] }];
    const open = plan({ mode: 'lan' }, host, { peers, internal: false });
    expect(open.machine.peers).toEqual(peers);
    expect(open.machine.backEnd.kind).toBe('relay');
    expect(open.resolvConf).toMatch(/^options ndots:0$/m);
    const internal = plan({ mode: 'lan' }, host, { peers, internal: true });
    expect(internal.machine.backEnd).toEqual({ kind: 'none' });
    expect(internal.machine.rules).toEqual([
      { allow: false, range: '0.0.0.0/0' },
      { allow: false, range: '::/0' },
    ]);
  });

  test('limits the connections to 16384 unless the options say otherwise', () => {
    expect(plan().machine.maxConnections).toBe(16_384);
    expect(plan({ maxConnections: 7 }).machine.maxConnections).toBe(7);
  });

  test('fails for a tap interface that does not exist', () => {
    expect(() => plan({ mode: 'tap:nope0' })).toThrow(/^interface nope0 is down, missing/);
  });
});

test.each<[NetworkOptions, RegExp]>([
  [{ mode: 'host' }, /^invalid network 'host'/],
  [{ mode: 'tap:' }, /^invalid network/],
  [{ mode: 'tap:../x' }, /^invalid network/],
  [{ maxConnections: 0 }, /^invalid number of connections 0/],
  [{ maxConnections: 1.5 }, /^invalid number of connections/],
  [{ maxConnections: 2 ** 21 }, /^invalid number of connections/],
  [{ mac: '03:00:00:00:00:01' }, /^invalid MAC address/],
  [{ mac: '02:00' }, /^invalid MAC address/],
  [{ mode: 'lan', aliases: ['a b'] }, /^invalid network alias 'a b'/],
  [{ aliases: ['db'] }, /^network-scoped aliases are only supported/],
  [{ dns: ['resolver'] }, /^invalid name server/],
  [{ dnsSearch: ['a b'] }, /^invalid search domain 'a b'/],
  [{ dnsSearch: ['a\nnameserver 1.2.3.4'] }, /^invalid search domain/],
  [{ dnsOptions: ['ndots:2\nnameserver'] }, /^invalid option/],
  [{ hosts: ['x'] }, /^invalid host/],
  [{ allow: ['10.0.0.0/99'] }, /^invalid network rule/],
  [{ publish: ['x'] }, /^invalid published port/],
  [{ expose: ['80/sctp'] }, /^invalid port '80\/sctp'/],
  [{ mode: 'none', publishAll: true }, /^ports cannot be published with --network none/],
  [{ mode: 'none', publish: ['80:80'] }, /^ports cannot be published with --network none/],
])('%j is refused by the check', (options, message) => {
  expect(() => checkNetwork(options)).toThrow(message);
});

describe("the host's own network", () => {
  test('has a default route or not', () => {
    const header = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n';
    expect(defaultInterface(`${header}eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n`)).toBe('eth0');
    expect(defaultInterface(`${header}eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n`)).toBeUndefined();
    const zero = '0'.repeat(32);
    expect(defaultInterface6(`${zero} 00 ${zero} 00 ${zero} 00000400 00000001 00000000 00000003 eth0\n`)).toBe('eth0');
    expect(defaultInterface6(`${zero} 00 ${zero} 00 ${zero} ffffffff 00000001 00000000 00200200 lo\n`)).toBeUndefined();
  });

  test('has addresses on every interface, and ranges that lead to it', () => {
    const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
     +-- 192.168.77.0/24 2 0 2
           |-- 192.168.77.0
              /24 link UNICAST
           |-- 192.168.77.1
              /32 host LOCAL
           |-- 192.168.77.255
              /32 link BROADCAST
        |-- 203.0.113.77
           /32 host LOCAL
`;
    expect(parseLocalAddresses(trie + trie)).toEqual(['127.0.0.0/8', '192.168.77.1', '203.0.113.77']);
    for (const each of ['', 'x', '|--\n/32 host LOCAL', ' \n\n']) {
      expect(parseLocalAddresses(each)).toEqual([]);
    }
  });

  test('includes interfaces without a carrier', () => {
    const routes = 'Iface\tDestination\tGateway\nother\t004DA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n';
    const addresses = ['192.168.7.1', '192.168.77.1'];
    expect(connectedAddress('tap0', routes.replace('other', 'tap0'), addresses)).toEqual({
      address: '192.168.77.1',
      prefix: 24,
    });
    expect(connectedAddress('tap0', routes, addresses)).toBeUndefined();
    expect(connectedAddress('tap0', '', addresses)).toBeUndefined();
  });

  test('has the upstream resolvers of a resolver on the loopback interface', () => {
    const upstream = () => 'nameserver 10.9.9.9\n';
    expect(hostResolver('# x\nnameserver 127.0.0.53\noptions edns0\n', upstream)).toEqual({
      nameservers: ['10.9.9.9'],
      settings: ['options edns0'],
    });
    expect(hostResolver('nameserver 127.0.0.1\n', () => '').nameservers).toEqual(['127.0.0.1']);
    expect(hostResolver('nameserver 10.1.1.1\nnameserver nonsense\n', upstream).nameservers).toEqual(['10.1.1.1']);
    expect(hostResolver('', upstream).nameservers).toEqual([]);
  });
});
