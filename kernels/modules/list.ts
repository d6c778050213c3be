// The modules that a container needs of a distribution's kernel. Every run loads this file.
import { createHash } from 'node:crypto';

/** The driver by which a guest's kernel reaches its devices; `virtio_9p`: its root, in the lab. */
export type Transport = 'virtio_mmio' | 'virtio_pci' | 'virtio_uml' | 'virtio_9p';

interface NeededModule {
  name: string;
  needed: boolean;
}

/** In the order in which they are loaded, each after those that it depends on. */
const MODULES: readonly NeededModule[] = [
  // The checksum of EROFS and of ext4's metadata, which they find by its name.
  { name: 'crc32c_generic', needed: false },
  { name: 'virtio_mmio', needed: true },
  { name: 'virtio_blk', needed: true },
  { name: 'vmw_vsock_virtio_transport', needed: true },
  { name: 'erofs', needed: true },
  { name: 'ext4', needed: true },
  { name: 'overlay', needed: true },
  { name: 'virtio_rng', needed: false },
  { name: 'virtio_net', needed: false },
  { name: 'virtio_balloon', needed: false },
  { name: 'virtiofs', needed: false },
  // --device /dev/net/tun
  { name: 'tun', needed: false },
];

/** What another VMM's machine needs to boot from a disk, as `tsvm compare` starts it. */
const PCI_MODULES: readonly NeededModule[] = [
  { name: 'crc32c_generic', needed: false },
  { name: 'virtio_pci', needed: true },
  { name: 'virtio_blk', needed: true },
  { name: 'virtio_console', needed: true },
  { name: 'vmw_vsock_virtio_transport', needed: true },
  { name: 'ext4', needed: true },
  { name: 'virtiofs', needed: true },
];

/** What the lab needs to boot from this host's files, and to be a host of machines and networks. */
const LAB_MODULES: readonly NeededModule[] = [
  { name: 'virtio_mmio', needed: true },
  { name: 'virtio_console', needed: true },
  { name: '9pnet_virtio', needed: true },
  { name: '9p', needed: true },
  { name: 'kvm_amd', needed: true },
  { name: 'overlay', needed: true },
  { name: 'veth', needed: true },
  { name: 'tun', needed: true },
];

/** Increased when prepare.ts makes something else of the same kernel. */
const RECIPES: Record<Transport, number> = { virtio_mmio: 2, virtio_pci: 2, virtio_9p: 2, virtio_uml: 3 };

/** The modules for a kernel, in the order in which they are loaded. */
export function modulesFor(transport: Transport): readonly NeededModule[] {
  if (transport === 'virtio_mmio') return MODULES;
  if (transport === 'virtio_pci') return PCI_MODULES;
  if (transport === 'virtio_9p') return LAB_MODULES;
  return [
    ...MODULES.map((module) => (module.name === 'virtio_mmio' ? { ...module, name: transport } : module)),
    // Other kernels of Debian have it built in.
    { name: 'ipv6', needed: false },
  ];
}

/** A hash of what is made of a distribution's kernel: 16 hex digits. */
export function modulesRecipe(transport: Transport): string {
  return createHash('sha256')
    .update(JSON.stringify([RECIPES[transport], modulesFor(transport)]))
    .digest('hex')
    .slice(0, 16);
}
