// The devices of a machine, in the order in which the guest finds them.
import { VirtioBlk } from '../devices/blk.js';
import type { VirtioDevice } from '../devices/device.js';
import { VirtioFs } from '../devices/fs.js';
import { VirtioRng } from '../devices/rng.js';
import { VirtioVsock } from '../devices/vsock.js';
import type { MachineSpec } from '../machine.js';

/**
 * Makes a machine's devices, disks first and in order.
 * @throws MachineError when a disk's file or a share can't be opened or the vsock's path can't be bound.
 */
export function createDevices(spec: MachineSpec): VirtioDevice[] {
  const shares = spec.shares ?? [];
  return [
    ...spec.disks.map((disk) => VirtioBlk.open(disk)),
    new VirtioVsock(spec.vsock),
    new VirtioRng(),
    ...(shares.length > 0 ? [VirtioFs.open(shares)] : []),
  ];
}
