// Finds the kernels that were fetched as packages of a distribution. Every run without a kernel of
// its own loads this file.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { compareText, compareVersions, kernelCache } from './cache.js';
import { modulesRecipe, type Transport } from './modules/list.js';

interface Package {
  name: string;
  /** True if it has the kernel; otherwise it depends on the one that has. */
  hasKernel: boolean;
  transport: Transport;
}

export const PULLED_NAMES = ['debian', 'debian-generic', 'debian-uml', 'debian-pci', 'debian-lab'] as const;
export type PulledName = (typeof PULLED_NAMES)[number];

export const PACKAGES: Record<PulledName, Package> = {
  /** For virtual machines: fewer drivers. */
  debian: { name: 'linux-image-cloud-amd64', hasKernel: false, transport: 'virtio_mmio' },
  'debian-generic': { name: 'linux-image-amd64', hasKernel: false, transport: 'virtio_mmio' },
  'debian-uml': { name: 'user-mode-linux', hasKernel: true, transport: 'virtio_uml' },
  /** `debian` for a machine with PCI, which another VMM makes. */
  'debian-pci': { name: 'linux-image-cloud-amd64', hasKernel: false, transport: 'virtio_pci' },
  /** `debian-generic` for the lab (test/lab): a host whose kernel has a function tracer. */
  'debian-lab': { name: 'linux-image-amd64', hasKernel: false, transport: 'virtio_9p' },
};

/** The kernel, an ELF vmlinux, a bzImage or User-Mode Linux; the cpio archive of its modules; its configuration. */
export const PULLED_FILES = ['kernel', 'modules.cpio', 'config'] as const;

export interface PulledKernel {
  name: PulledName;
  /** The version of the package. */
  version: string;
  hash: string;
  directory: string;
  /** True if its archive has the modules that this version of tsvm needs. */
  current: boolean;
}

/** All pulled kernels of the cache, by name, then newest version first. */
export function listPulled(cache: string = kernelCache()): PulledKernel[] {
  const kernels: PulledKernel[] = [];
  for (const entry of entriesOf(cache)) {
    for (const name of PULLED_NAMES) {
      const [, version, hash] =
        /^-(\d.*)-([0-9a-f]{16})$/.exec(entry.startsWith(name) ? entry.slice(name.length) : '') ?? [];
      const directory = join(cache, entry);
      if (version === undefined || hash === undefined) continue;
      if (!PULLED_FILES.every((file) => existsSync(join(directory, file)))) continue;
      kernels.push({ name, version, hash, directory, current: hash === modulesRecipe(PACKAGES[name].transport) });
    }
  }
  return kernels.sort((a, b) => compareText(a.name, b.name) || compareVersions(b.version, a.version));
}

/** The newest pulled kernel of the name, or undefined. */
export function findPulled(name: PulledName, cache: string = kernelCache()): PulledKernel | undefined {
  return listPulled(cache).find((kernel) => kernel.name === name && kernel.current);
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
