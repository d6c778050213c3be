// Which template fits a run, and the machine that a template is saved from.
import type { BootKernel } from '../../kernels/index.js';
import type { DiskSpec, MachineSpec, NetworkSpec } from '../../vmm/machine.js';
import { canOpenKvm } from '../machine/open-kvm.js';
import { storedProbe } from '../machine/probe-cache.js';
import type { TemplateShape } from '../machine/templates.js';
import { INITRAMFS } from '../programs.js';
import { GUEST_CID } from './machine-spec.js';
import { LARGEST_MTU } from './network-plan.js';

/** The disks of the image and of the writable layer, without capacity: a run plugs them in. */
const IMAGE: DiskSpec = { id: 'image', readOnly: true, extents: [] };
const LAYER: DiskSpec = { id: 'layer', readOnly: false, extents: [] };

/** Of the template's own machine. A run's has other addresses. */
const TEMPLATE_NETWORK: NetworkSpec = {
  mac: '02:74:00:00:00:01',
  gatewayMac: '02:74:00:00:00:02',
  mtu: LARGEST_MTU,
  addresses: [],
  gateways: [],
  resolvers: [],
  rules: [],
  peerRanges: [],
  maxConnections: 1,
  optional: false,
  backEnd: { kind: 'none' },
};

/** The shape of the template that a machine can come from; undefined: from none. */
export function shapeOf(spec: MachineSpec): TemplateShape | undefined {
  const { cpus, memory, disks, network, shares = [], console, accel } = spec;
  // The console is part of the kernel's command line, and the MTU of the network's driver.
  if (console || accel === 'tcg' || accel === 'uml') return undefined;
  if (network !== undefined && network.mtu !== LARGEST_MTU) return undefined;
  const [hasLayer, hasNetwork, hasShares] = [disks.length > 1, network !== undefined, shares.length > 0];
  return { cpus, memory, hasLayer, hasNetwork, hasShares };
}

/** True if it is known that the machine will be on KVM. */
export function isOnKvm({ accel }: MachineSpec, probeCache: string): boolean {
  return accel === 'kvm' || (accel === 'auto' && storedProbe(probeCache)?.usable === true && canOpenKvm());
}

export interface TemplateParts {
  kernel: BootKernel;
  /** Path of the vsock device's socket. */
  vsock: string;
  /** An empty folder, if the template has shares. */
  folder: string;
}

/** The machine that a template of this shape is saved from. */
export function templateSpec(shape: TemplateShape, parts: TemplateParts): MachineSpec {
  const { cpus, memory, hasLayer, hasNetwork, hasShares } = shape;
  const { kernel, vsock, folder } = parts;
  return {
    accel: 'kvm',
    kernel: kernel.path,
    initramfs: INITRAMFS,
    ...(kernel.modules === undefined ? {} : { modules: kernel.modules }),
    commandLine: '',
    cpus,
    memory,
    disks: hasLayer ? [IMAGE, LAYER] : [IMAGE],
    ...(hasShares ? { shares: [{ path: folder, readOnly: true }] } : {}),
    ...(hasNetwork ? { network: TEMPLATE_NETWORK } : {}),
    vsock: { guestCid: GUEST_CID, path: vsock },
    console: false,
    logLevel: 'silent',
  };
}
