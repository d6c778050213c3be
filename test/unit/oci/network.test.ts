// Proves which networks of engines a machine has, and how the others are refused.
import { describe, expect, test } from 'vitest';
import { planNetwork } from '../../../oci/keeper/network.js';
import type { Interface } from '../../../vmm/outside/interfaces.js';

const PATH = '/run/netns/x';

function made(given: Partial<Interface> = {}): Interface {
  return {
    ...{ index: 2, name: 'eth0', mac: '02:00:00:00:00:05', mtu: 1450 },
    ...{ addresses: ['10.88.0.5/16', 'fd00::5/64'], gateways: ['10.88.0.1', 'fe80::1'], routes: [] },
    ...given,
  };
}

describe('the network of a namespace', () => {
  test('is that of its interface', () => {
    const plan = planNetwork(PATH, [made({ name: 'net1' })]);
    expect(plan?.guest).toEqual({
      ...{ interface: 'eth0', addresses: ['10.88.0.5/16', 'fd00::5/64'], gateways: ['10.88.0.1', 'fe80::1'] },
    });
    expect(plan?.machine).toMatchObject({
      ...{ mac: '02:00:00:00:00:05', mtu: 1450, addresses: ['10.88.0.5', 'fd00::5'], optional: false },
      backEnd: { kind: 'wire', namespace: PATH, interface: 'net1' },
    });
  });

  test('is none without an interface', () => {
    expect(planNetwork(PATH, [])).toBeUndefined();
  });

  test('has no routes of its own but those to gateways', () => {
    expect(planNetwork(PATH, [made({ routes: ['10.88.0.1/32', 'fe80::1/128'] })])).toBeDefined();
    for (const route of ['10.0.0.0/8 via 10.88.0.1', '169.254.1.1/32', 'default/0']) {
      expect(() => planNetwork(PATH, [made({ routes: [route] })])).toThrow(`not supported yet: ${route}`);
    }
  });

  test('is one, with one IPv4 address', () => {
    const second = made({ name: 'eth1' });
    expect(() => planNetwork(PATH, [second, made()])).toThrow('several networks are not supported yet: eth0, eth1');
    const addresses = ['10.88.0.5/16', '10.88.0.6/16'];
    expect(() => planNetwork(PATH, [made({ addresses })])).toThrow('several IPv4 addresses');
    expect(() => planNetwork(PATH, [made(), made({ name: 'tsvm0' })])).toThrow('another container');
  });
});
