// QEMU's arguments for devices of ours: what they say comes from each device's own data.
import { expect, test } from 'vitest';
import { type QemuDevice, qemuArguments } from '../../../../vmm/accel/tcg/qemu-arguments.js';
import type { VirtioDevice } from '../../../../vmm/virtio/device.js';

function deviceArguments(device: Partial<VirtioDevice>, socket: QemuDevice['socket'] = { fd: 5 }): string[] {
  const devices = [{ device: device as VirtioDevice, socket }];
  const args = qemuArguments({ cpus: 1, memory: { size: 2 ** 26, fd: 3 }, firmwareFd: 4, devices });
  const start = args.findIndex((argument) => argument.startsWith('socket,id=vhost0'));
  return args.slice(start, -2);
}

test('a device is reached over the descriptor that QEMU was given', () => {
  expect(deviceArguments({ name: 'blk' })).toEqual([
    'socket,id=vhost0,fd=5',
    '-device',
    'vhost-user-blk,num-queues=1,chardev=vhost0,bus=virtio-mmio-bus.0',
  ]);
});

test("a file system's tag and queue size are the device's own", () => {
  const config = Buffer.alloc(40);
  config.write('files');
  expect(deviceArguments({ name: 'fs', config, queueSizes: [64, 64] })[2]).toBe(
    'vhost-user-fs-device,tag=files,queue-size=64,chardev=vhost0,bus=virtio-mmio-bus.0',
  );
});

test("a network device's address and MTU are those of its configuration space, and QEMU connects to a path", () => {
  const config = Buffer.from('02000000000a010001000005', 'hex');
  const [chardev, , netdev, , device] = deviceArguments({ name: 'net', config }, { path: '/run/net' });
  expect(chardev).toBe('socket,id=vhost0,path=/run/net');
  expect(netdev).toBe('vhost-user,id=net0,chardev=vhost0');
  expect(device).toMatch(/^virtio-net-device,netdev=net0,mac=02:00:00:00:00:0a,host_mtu=1280,/);
});

test('a device that QEMU has no front-end for is refused', () => {
  expect(() => deviceArguments({ name: 'balloon' })).toThrow('QEMU has no front-end for the balloon device');
});
