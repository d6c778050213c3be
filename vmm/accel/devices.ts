// The devices of a machine, in the order in which the guest finds them.
import { VirtioBalloon } from '../devices/balloon.js';
import { VirtioBlk } from '../devices/blk/device.js';
import { VirtioFs } from '../devices/fs/device.js';
import { VirtioRng } from '../devices/rng.js';
import { VirtioVsock } from '../devices/vsock/device.js';
import type { Accelerator, MachineSpec } from '../machine.js';
import type { VirtioDevice } from '../virtio/device.js';
import { createNet, type NetworkHost } from './network.js';

/**
 * Makes a machine's devices, disks first and in order; the balloon, which QEMU brings itself, for KVM alone.
 * @throws MachineError when a disk's file or a share can't be opened, the vsock's path can't be bound, or there is no
 * network to be had.
 */
export function createDevices(spec: MachineSpec, accel: Accelerator, host: NetworkHost): VirtioDevice[] {
  const shares = spec.shares ?? [];
  const net = spec.network === undefined ? undefined : createNet(spec.network, host);
  return [
    ...spec.disks.map((disk) => VirtioBlk.open(disk)),
    new VirtioVsock(spec.vsock),
    new VirtioRng(),
    ...(shares.length > 0 ? [VirtioFs.open(shares)] : []),
    ...(net === undefined ? [] : [net]),
    ...(accel === 'kvm' ? [new VirtioBalloon()] : []),
  ];
}
