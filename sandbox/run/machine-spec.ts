// The machine spec (vmm/machine.ts) of a run: kernel, memory, and disks in the order that the guest
// expects.
import type { Image } from '../../images/index.js';
import type { BootKernel } from '../../kernels/index.js';
import type { MachineSpec } from '../../vmm/machine.js';
import { defined } from '../defined.js';
import type { Home } from '../home/home.js';
import { acceleratorOf } from '../isolation.js';
import { INITRAMFS } from '../programs.js';
import { shareRates, vcpuCount, withRates } from '../spec/limits.js';
import { DEFAULT_MEMORY, type RunSpec } from '../spec/run-spec.js';
import type { NetworkPlan } from './network-plan.js';
import type { Share } from './shares.js';

export const GUEST_CID = 3;
const PAGE = 4096;

/** The disk of the writable layer: a file that holds an ext4 file system. */
export interface LayerDisk {
  path: string;
  /** Bytes. */
  size: number;
  kept: boolean;
}

/** The parts of a machine that the run spec does not name. */
export interface MachineParts {
  kernel: BootKernel;
  image: Image;
  /** If undefined, the guest keeps the writable layer in memory. */
  layer: LayerDisk | undefined;
  shares: readonly Share[];
  network: NetworkPlan | undefined;
  /** Path of the vsock device's socket. */
  vsock: string;
  home: Home;
  logLevel: MachineSpec['logLevel'];
}

/** Bytes of a machine's memory. */
export function wholePages(bytes: number): number {
  return Math.ceil(bytes / PAGE) * PAGE;
}

export function machineSpec(spec: RunSpec, parts: MachineParts): MachineSpec {
  const disks: MachineSpec['disks'] = [{ id: 'image', readOnly: true, extents: parts.image.disk }];
  if (parts.layer !== undefined) {
    const { path, size, kept } = parts.layer;
    disks.push({ id: 'layer', readOnly: false, volatile: !kept, extents: [{ path, offset: 0, length: size }] });
  }
  return defined({
    accel: acceleratorOf(spec),
    kernel: parts.kernel.path,
    initramfs: INITRAMFS,
    modules: parts.kernel.modules,
    commandLine: '',
    cpus: vcpuCount(spec.cpus),
    memory: wholePages(spec.memory ?? DEFAULT_MEMORY),
    disks: withRates(disks, spec),
    shares: parts.shares.map(({ path, readOnly, keepSetId, budget }) => defined({ path, readOnly, keepSetId, budget })),
    shareRates: shareRates(spec),
    vsock: { guestCid: GUEST_CID, path: parts.vsock },
    network: parts.network?.machine,
    console: spec.console ?? false,
    logLevel: parts.logLevel,
  });
}
