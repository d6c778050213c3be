// Finds the kernels that were fetched as packages of a distribution. Every run without a kernel of
// its own loads this file.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { kernelCache } from './cache.js';
import { modulesRecipe } from './modules/list.js';

/** Names of the kernels, and the package of each that depends on its newest version. */
export const PACKAGES = {
  /** For virtual machines: fewer drivers. */
  debian: 'linux-image-cloud-amd64',
  'debian-generic': 'linux-image-amd64',
} as const;
export type PulledName = keyof typeof PACKAGES;
export const PULLED_NAMES = ['debian', 'debian-generic'] as const satisfies readonly PulledName[];

/** The kernel, an ELF vmlinux or a bzImage; the cpio archive of its modules; its configuration. */
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
  const recipe = modulesRecipe();
  const kernels: PulledKernel[] = [];
  for (const entry of entriesOf(cache)) {
    for (const name of PULLED_NAMES) {
      const [, version, hash] =
        /^-(\d.*)-([0-9a-f]{16})$/.exec(entry.startsWith(name) ? entry.slice(name.length) : '') ?? [];
      const directory = join(cache, entry);
      if (version === undefined || hash === undefined) continue;
      if (!PULLED_FILES.every((file) => existsSync(join(directory, file)))) continue;
      kernels.push({ name, version, hash, directory, current: hash === recipe });
    }
  }
  return kernels.sort(
    (a, b) => a.name.localeCompare(b.name) || b.version.localeCompare(a.version, 'en', { numeric: true }),
  );
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
