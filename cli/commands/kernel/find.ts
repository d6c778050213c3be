// Finds the kernel that a command names.
import { join } from 'node:path';
import {
  findPulled,
  isPulledName,
  KERNEL_NAMES,
  type KernelName,
  kernelPath,
  PULLED_NAMES,
} from '../../../kernels/index.js';
import { UsageError } from '../../output/errors.js';

/** Kernels that are built here. */
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

/** A kernel that was built or fetched. */
export function findAnyKernel(text: string): string {
  if (isPulledName(text)) {
    const directory = findPulled(text)?.directory;
    if (directory === undefined)
      throw new UsageError(`the kernel '${text}' is not there, run: tsvm kernel pull ${text}`);
    return join(directory, 'kernel');
  }
  const name = KERNEL_NAMES.find((known) => known === text);
  if (name !== undefined) return findKernel(name);
  throw new UsageError(`unknown kernel '${text}': expected ${[...KERNEL_NAMES, ...PULLED_NAMES].join(', ')}`);
}
