// Proves which networks of engines a machine has, and how the others are refused.
import { describe, expect, test } from 'vitest';
import { planNetwork } from '../../../oci/keeper/network.js';
import type { Interface } from '../../../vmm/outside/interfaces.js';

const PATH = '/run/netns/x';

const route = (text: string, message: Buffer | undefined = Buffer.from(text)) => ({ text, message });
const hex = (text: string) => Buffer.from(text).toString('hex');

function made(given: Partial<Interface> = {}): Interface {
  return {
    ...{ index: 2, name: 'eth0', mac: '02:00:00:00:00:05', mtu: 1450 },
    ...{ addresses: ['10.88.0.5/16', '10.88.0.6/16', 'fd00::5/64'], routes: [route('default via 10.88.0.1')] },
    ...given,
  };
}

describe('the network of a namespace', () => {
  test('is that of its interface', () => {
    const plan = planNetwork(PATH, [made({ name: 'net1' })]);
    expect(plan?.guest).toEqual([
      {
        ...{ interface: 'eth0', addresses: ['10.88.0.5/16', '10.88.0.6/16', 'fd00::5/64'] },
        routes: [hex('default via 10.88.0.1')],
      },
    ]);
    expect(plan?.machine).toMatchObject([
      {
        ...{ mac: '02:00:00:00:00:05', mtu: 1450, addresses: ['10.88.0.5', '10.88.0.6', 'fd00::5'], optional: false },
        backEnd: { kind: 'wire', namespace: PATH, interface: 'net1', tap: 'tsvm0' },
      },
    ]);
  });

  test('is none without an interface', () => {
    expect(planNetwork(PATH, [])).toBeUndefined();
  });

  test('is that of several interfaces, in the order of their names', () => {
    const names = ['eth10', 'eth2', 'eth0'];
    const plan = planNetwork(
      PATH,
      names.map((name, index) => made({ name, index })),
    );
    expect(plan?.guest.map((each) => each.interface)).toEqual(['eth0', 'eth1', 'eth2']);
    const behind = plan?.machine.map(({ backEnd }) => backEnd);
    expect(behind).toMatchObject([
      { interface: 'eth0', tap: 'tsvm0' },
      { interface: 'eth2', tap: 'tsvm1' },
      { interface: 'eth10', tap: 'tsvm2' },
    ]);
  });

  test('has four interfaces at most, and no routes of several hops', () => {
    const many = Array.from({ length: 5 }, (_, index) => made({ name: `eth${index}` }));
    expect(() => planNetwork(PATH, many)).toThrow('a machine has 4 network interfaces at most, not 5');
    const several = made({ routes: [{ text: '10.0.0.0/8', message: undefined }] });
    expect(() => planNetwork(PATH, [several])).toThrow('a route of several hops is not supported: 10.0.0.0/8');
    const long = made({ routes: [route('10.0.0.0/8', Buffer.alloc(513))] });
    expect(() => planNetwork(PATH, [long])).toThrow('a route is not supported: 10.0.0.0/8');
  });

  test('is of one machine', () => {
    expect(() => planNetwork(PATH, [made(), made({ name: 'tsvm0' })])).toThrow('another machine has the network');
  });
});
