// The devices of a machine, in the order in which the guest finds them.
import { VirtioBalloon } from '../devices/balloon.js';
import { VirtioBlk } from '../devices/blk/device.js';
import { VirtioFs } from '../devices/fs/device.js';
import type { VirtioNet } from '../devices/net/device.js';
import { VirtioRng } from '../devices/rng.js';
import { VirtioVsock } from '../devices/vsock/device.js';
import type { Accelerator, MachineSpec } from '../machine.js';
import type { VirtioDevice } from '../virtio/device.js';
import { createNet, type NetworkContext } from './network.js';

export interface MachineDevices {
  /** In the order in which the guest finds them: disks first. */
  devices: VirtioDevice[];
  /** The network device, which is one of them. */
  net: VirtioNet | undefined;
}

/**
 * Makes a machine's devices. The balloon is for KVM alone: QEMU has one of its own.
 * @throws MachineError when a disk's file or a share can't be opened, the vsock's path can't be bound, or the network does
 * not come up and is not optional.
 */
export function createDevices(spec: MachineSpec, accel: Accelerator, network: NetworkContext): MachineDevices {
  const shares = spec.shares ?? [];
  const net = spec.network === undefined ? undefined : createNet(spec.network, network);
  const devices = [
    ...spec.disks.map((disk) => VirtioBlk.open(disk)),
    new VirtioVsock(spec.vsock),
    new VirtioRng(),
    ...(shares.length > 0 ? [VirtioFs.open(shares)] : []),
    ...(net === undefined ? [] : [net]),
    ...(accel === 'kvm' ? [new VirtioBalloon()] : []),
  ];
  return { devices, net };
}
