// The modules that a container needs of a distribution's kernel. Every run loads this file.
import { createHash } from 'node:crypto';

/** In the order in which they are loaded, each after those that it depends on. */
export const MODULES: readonly { name: string; needed: boolean }[] = [
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

/** Increased when prepare.ts makes something else of the same kernel. */
const RECIPE = 2;

/** A hash of what is made of a distribution's kernel: 16 hex digits. */
export function modulesRecipe(): string {
  return createHash('sha256')
    .update(JSON.stringify([RECIPE, MODULES]))
    .digest('hex')
    .slice(0, 16);
}
