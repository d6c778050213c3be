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
  link.ip('route add 10.9.0.0/16 dev eth0 scope link');
  const read = () => {
    using _ = link.enterHost();
    return readInterfaces();
  };
  const [found, ...others] = read();
  expect(others).toEqual([]);
  expect(found).toMatchObject({
    ...{ name: 'eth0', mtu: 1400 },
    addresses: ['203.0.113.1/24', '192.168.7.1/24', '2001:db8:1:1::1/64'],
    gateways: ['203.0.113.20', '2001:db8:1:1::20'],
    routes: ['10.0.0.0/8 via 203.0.113.20', '10.9.0.0/16'],
  });
  expect(link.host.run('ip', 'link', 'show', 'eth0')).toContain(`link/ether ${found?.mac} `);
});

test('the namespace of this process is not entered', () => {
  const path = '/proc/self/ns/net';
  expect(isHostNetwork(path)).toBe(true);
  expect(() => inNetworkNamespace(path, () => 0)).toThrow("the network namespace is the host's own");
});
