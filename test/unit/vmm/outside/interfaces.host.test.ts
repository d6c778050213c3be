// Proves that the interfaces of a network namespace are read as they were made, and that the host's own
// namespace is told from others.
import { expect, test } from 'vitest';
import { readInterfaces } from '../../../../vmm/outside/interfaces.js';
import { inNetworkNamespace, isHostNetwork } from '../../../../vmm/outside/network-namespace.js';
import { Link } from '../../../fixtures/linked-namespaces.js';

test('an interface is read with its addresses and routes, and what is down or the loopback is not', async () => {
  await using link = await Link.create();
  link.ip('link set eth0 mtu 1400');
  link.ip('link add eth1 type veth peer name eth2');
  link.ip('route add 10.0.0.0/8 via 203.0.113.20');
  link.ip('route add 10.9.0.0/16 dev eth0 scope link metric 7');
  link.ip('route add blackhole 10.10.0.0/16');
  link.ip('route add unreachable 2001:db8:bad::/48');
  link.ip('route add 10.11.0.0/16 nexthop via 203.0.113.20 nexthop via 192.168.7.20');
  const read = () => {
    using _ = link.enterHost();
    return readInterfaces();
  };
  const [found, ...others] = read();
  expect(others).toEqual([]);
  expect(found).toMatchObject({
    ...{ name: 'eth0', mtu: 1400 },
    addresses: ['203.0.113.1/24', '192.168.7.1/24', '2001:db8:1:1::1/64'],
  });
  const routes = found?.routes.map(({ text }) => text) ?? [];
  // What others need comes first.
  expect(routes.map((text) => text.includes(' via '))).toEqual(routes.map((_, index) => index >= routes.length - 3));
  expect(routes.toSorted()).toEqual([
    ...['10.0.0.0/8 via 203.0.113.20', '10.11.0.0/16', '10.9.0.0/16', '192.168.7.0/24', '2001:db8:1:1::/64'],
    ...['203.0.113.0/24', 'blackhole 10.10.0.0/16'],
    ...['default via 2001:db8:1:1::20', 'default via 203.0.113.20', 'unreachable 2001:db8:bad::/48'],
  ]);
  // One over several gateways has no message.
  expect(found?.routes.filter(({ message }) => message === undefined).map(({ text }) => text)).toEqual([
    '10.11.0.0/16',
  ]);
  expect(link.host.run('ip', 'link', 'show', 'eth0')).toContain(`link/ether ${found?.mac} `);
});

test('the namespace of this process is not entered', () => {
  const path = '/proc/self/ns/net';
  expect(isHostNetwork(path)).toBe(true);
  expect(() => inNetworkNamespace(path, () => 0)).toThrow("the network namespace is the host's own");
});
