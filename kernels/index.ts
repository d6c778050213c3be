// The entry of this folder: finds built, packed and fetched kernels, and builds or fetches a missing
// one. The code of the build is loaded only when a build starts.
import type { BuildOptions } from './build.js';
import type { KernelName } from './cache.js';
import type { PrunedKernels, PruneOptions } from './prune.js';
import type { PullOptions } from './pull.js';
import type { PulledName } from './pulled.js';

export {
  BOOT_NAMES,
  type BootKernel,
  type BootName,
  filesOfPulled,
  findBootKernel,
  isBootName,
  isProgramName,
  isPulledName,
  type WantedKernel,
} from './boot-kernel.js';
export type { BuildOptions, BuildProgress } from './build.js';
export {
  type BuiltKernel,
  fragmentPaths,
  hashFragments,
  KERNEL_NAMES,
  type KernelName,
  kernelCache,
  kernelDirectory,
  kernelHash,
  listKernels,
} from './cache.js';
export { KernelError } from './errors.js';
export { cpio } from './modules/cpio.js';
export { type AvailableKernel, availableKernel, kernelPath, packedKernels } from './packed.js';
export type { PrunedKernels, PruneOptions } from './prune.js';
export type { PullOptions, PullPhase } from './pull.js';
export { findPulled, listPulled, PULLED_NAMES, type PulledKernel, type PulledName } from './pulled.js';

/**
 * Builds a kernel if the cache lacks it: minutes, or nothing.
 *
 * @returns its folder
 * @throws KernelError if tools, the source or options of the fragments are missing, or the compiler
 * fails
 */
export async function buildKernel(name: KernelName = 'guest', options: BuildOptions = {}): Promise<string> {
  const { build } = await import('./build.js');
  return build(name, options);
}

/**
 * Fetches the newest version of a distribution's kernel from the package archives of this host,
 * unless the cache has it.
 *
 * @returns its folder
 * @throws KernelError if the host has no apt, or its archives no such package
 */
export async function pullKernel(name: PulledName, options: PullOptions = {}): Promise<string> {
  const { pull } = await import('./pull.js');
  return pull(name, options);
}

/**
 * Removes kernels that a newer version has replaced, and what killed processes left in the cache.
 *
 * @throws KernelError if the cache cannot be written
 */
export async function pruneKernels(options: PruneOptions = {}): Promise<PrunedKernels> {
  const { prune } = await import('./prune.js');
  return prune(options);
}
