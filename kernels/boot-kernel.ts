// The kernel that a machine boots, by what a run says of it.
import { join } from 'node:path';
import { kernelCache } from './cache.js';
import { KernelError } from './errors.js';
import { kernelPath } from './packed.js';
import { findPulled, PULLED_NAMES, type PulledKernel, type PulledName } from './pulled.js';

/** What a machine boots. */
export interface BootKernel {
  /** An ELF vmlinux, a bzImage or, as a program, User-Mode Linux. */
  path: string;
  /** The cpio archive with the modules of a distribution's kernel. Absent: it has all built in. */
  modules?: string;
}

export interface WantedKernel {
  /** A path, or a name. Absent: the first of the default ones that is there. */
  kernel?: string | undefined;
  /** The folder of the modules of a kernel at a path. */
  kernelModules?: string | undefined;
  /** True if it must be one of User-Mode Linux: those of the other machines are no programs. */
  isProgram?: boolean;
}

/** The kernels that a run may name. */
export const BOOT_NAMES = ['guest', 'uml', 'debian', 'debian-generic', 'debian-uml'] as const;
export type BootName = (typeof BOOT_NAMES)[number];

/** In the order of preference: a tuned one is faster and smaller. */
const DEFAULTS = ['guest', 'debian', 'debian-generic'] as const satisfies readonly BootName[];
const PROGRAMS = ['uml', 'debian-uml'] as const satisfies readonly BootName[];

export function isBootName(text: string): text is BootName {
  return BOOT_NAMES.some((name) => name === text);
}

export function isPulledName(text: string): text is PulledName {
  return PULLED_NAMES.some((name) => name === text);
}

/** Kernels of User-Mode Linux, which no other machine runs. */
export function isProgramName(name: BootName): boolean {
  return PROGRAMS.some((program) => program === name);
}

/**
 * The kernel that is wanted; undefined if it has a name, or is a default one, and is not there.
 * @throws KernelError if a path or folder is wrong
 */
export async function findBootKernel(
  { kernel, kernelModules, isProgram = false }: WantedKernel,
  cache: string = kernelCache(),
): Promise<BootKernel | undefined> {
  if (kernelModules !== undefined) {
    if (kernel === undefined || isBootName(kernel)) {
      throw new KernelError('modules of a kernel need the path of that kernel: --kernel FILE --kernel-modules FOLDER');
    }
    const { preparedKernel } = await import('./modules/prepare.js');
    return filesIn(await preparedKernel(kernel, kernelModules, cache));
  }
  if (kernel === undefined) {
    const names: readonly BootName[] = isProgram ? PROGRAMS : DEFAULTS;
    // Those after the first that is there are not looked for, as each look reads folders.
    for (const name of names) {
      const found = named(name, cache);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  return isBootName(kernel) ? named(kernel, cache) : { path: kernel };
}

function named(name: BootName, cache: string): BootKernel | undefined {
  if (isPulledName(name)) {
    const directory = findPulled(name, cache)?.directory;
    return directory === undefined ? undefined : filesIn(directory);
  }
  const path = kernelPath(name, cache);
  return path === undefined ? undefined : { path };
}

/** What a pulled kernel boots with. */
export function filesOfPulled({ directory }: PulledKernel): Required<BootKernel> {
  return filesIn(directory);
}

function filesIn(directory: string): Required<BootKernel> {
  return { path: join(directory, 'kernel'), modules: join(directory, 'modules.cpio') };
}
