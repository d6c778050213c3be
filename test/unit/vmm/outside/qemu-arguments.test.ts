// QEMU's arguments for devices of ours: what they say comes from the machine's specification.
import { expect, test } from 'vitest';
import type { MachineSpec, NetworkSpec } from '../../../../vmm/machine.js';
import { type ConnectedDevice, qemuArguments, qemuDevices } from '../../../../vmm/outside/qemu-arguments.js';

function deviceArguments(device: ConnectedDevice['device'], socket: ConnectedDevice['socket'] = { fd: 5 }): string[] {
  const devices = [{ device, socket }];
  const args = qemuArguments({ cpus: 1, memory: { size: 2 ** 26, fd: 3 }, firmwareFd: 4, logFd: 6, devices });
  const start = args.findIndex((argument) => argument.startsWith('socket,id=vhost0'));
  return args.slice(start, -6);
}

test('a device is reached over the descriptor that QEMU was given', () => {
  expect(deviceArguments({ name: 'blk' })).toEqual([
    'socket,id=vhost0,fd=5',
    '-device',
    'vhost-user-blk,num-queues=1,chardev=vhost0,bus=virtio-mmio-bus.0',
  ]);
});

test("a file system's tag and queue size are the device's own", () => {
  expect(deviceArguments({ name: 'fs' })[2]).toBe(
    'vhost-user-fs-device,tag=tsvm,queue-size=512,chardev=vhost0,bus=virtio-mmio-bus.0',
  );
});

test("a network device's address and MTU are those of the specification, and QEMU connects to a path", () => {
  const network = { mac: '02:00:00:00:00:0a', mtu: 1280 } as NetworkSpec;
  const [chardev, , netdev, , device] = deviceArguments({ name: 'net', network }, { path: '/run/net' });
  expect(chardev).toBe('socket,id=vhost0,path=/run/net');
  expect(netdev).toBe('vhost-user,id=net0,chardev=vhost0');
  expect(device).toMatch(/^virtio-net-device,netdev=net0,mac=02:00:00:00:00:0a,host_mtu=1280,/);
});

test('the devices are those of the specification, in the order of the machine process', () => {
  const names = (spec: object) => qemuDevices(spec as MachineSpec).map(({ name }) => name);
  expect(names({ disks: [{}, {}], shares: [{}], network: {} })).toEqual(['blk', 'blk', 'vsock', 'rng', 'fs', 'net']);
  expect(names({ disks: [], shares: [] })).toEqual(['vsock', 'rng']);
});
