// The entry of this folder: finds built and packed kernels, and builds a missing one. The code of the build is
// loaded only when a build starts.
import type { BuildOptions } from './build.js';
import type { KernelName } from './cache.js';

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
export { type AvailableKernel, availableKernel, kernelPath, packedKernels } from './packed.js';

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
