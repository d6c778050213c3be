// Finds the kernel that a command names.
import { KERNEL_NAMES, type KernelName, kernelPath } from '../../../kernels/index.js';
import { UsageError } from '../../output/errors.js';

export function parseKernelName(text: string): KernelName {
  const name = KERNEL_NAMES.find((known) => known === text);
  if (name === undefined) throw new UsageError(`unknown kernel '${text}': expected ${KERNEL_NAMES.join(' or ')}`);
  return name;
}

export function findKernel(name: KernelName): string {
  const path = kernelPath(name);
  if (path === undefined) throw new UsageError(`the kernel '${name}' is not built, run: tsvm kernel build ${name}`);
  return path;
}
