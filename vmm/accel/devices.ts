// Creates the devices of a machine, in the order in which the guest finds them.
import { VirtioBalloon } from '../devices/balloon.js';
import { VirtioBlk } from '../devices/blk/device.js';
import { VirtioFs } from '../devices/fs/device.js';
import type { FuseServer, OpenShare } from '../devices/fs/server.js';
import type { VirtioNet } from '../devices/net/device.js';
import { VirtioRng } from '../devices/rng.js';
import { VirtioVsock } from '../devices/vsock/device.js';
import type { HostFiles } from '../host/files.js';
import type { Accelerator, MachineSpec } from '../machine.js';
import type { VirtioDevice } from '../virtio/device.js';
import { createNet, type NetworkContext } from './network.js';

export interface MachineDevices {
  /** In the order in which the guest finds them: disks first. */
  devices: VirtioDevice[];
  /** One of `devices`; undefined if the guest has no network device. */
  network: VirtioNet | undefined;
  /** Of one of `devices`; undefined if the guest has no shares. */
  server: FuseServer | undefined;
}

/**
 * Creates the machine's devices. QEMU has a balloon of its own.
 * @throws MachineError if a disk file cannot be opened, a share is neither a folder nor a file, the
 *   vsock path cannot be bound, or the guest cannot join its networks
 */
export function createDevices(
  spec: MachineSpec,
  shares: readonly OpenShare[],
  accel: Accelerator,
  files: HostFiles,
  context: NetworkContext,
): MachineDevices {
  const { memory } = spec;
  const network = spec.network === undefined ? undefined : createNet(spec.network, context);
  const shared = shares.length === 0 ? undefined : VirtioFs.open(shares, { memory, rates: spec.shareRates });
  const devices = [
    ...spec.disks.map((disk) => VirtioBlk.open(disk, files)),
    new VirtioVsock(spec.vsock, files),
    new VirtioRng(),
    ...(shared === undefined ? [] : [shared]),
    ...(network === undefined ? [] : [network]),
    ...(spec.wires ?? []).map((wire, index) => createNet(wire, context, index + 1)),
    ...(accel !== 'tcg' ? [new VirtioBalloon()] : []),
  ];
  return { devices, network, server: shared?.server };
}
