// The kernel of a run.
import {
  type BootKernel,
  findBootKernel,
  isPulledName,
  KernelError,
  kernelPath,
  type PullPhase,
  pullKernel,
} from '../../kernels/index.js';
import { SandboxError } from '../errors.js';
import { acceleratorOf } from '../isolation.js';
import type { RunSpec } from '../spec/run-spec.js';

export { isBootName } from '../../kernels/index.js';

export interface FindKernelOptions {
  /** If true, a distribution's kernel that is named and not there is fetched. */
  pull?: boolean;
  onPull?: ((name: string, phase: PullPhase) => void) | undefined;
}

type Wanted = Pick<RunSpec, 'kernel' | 'kernelModules' | 'accel' | 'isolation'>;

/** @throws SandboxError `no-kernel` */
export async function findKernel(wanted: Wanted, options: FindKernelOptions = {}): Promise<BootKernel> {
  try {
    return await find(wanted, options);
  } catch (cause) {
    if (cause instanceof KernelError) throw new SandboxError('no-kernel', cause.message, { cause });
    throw cause;
  }
}

async function find(spec: Wanted, { pull = false, onPull }: FindKernelOptions): Promise<BootKernel> {
  const { kernel, kernelModules } = spec;
  if (kernel === undefined && acceleratorOf(spec) === 'uml') return umlKernel();
  const wanted = { kernel, kernelModules };
  let found = await findBootKernel(wanted);
  if (found === undefined && pull && kernel !== undefined && isPulledName(kernel)) {
    await pullKernel(kernel, { onProgress: (phase) => onPull?.(kernel, phase) });
    found = await findBootKernel(wanted);
  }
  if (found !== undefined) return found;
  throw new SandboxError('no-kernel', missing(kernel));
}

/** The kernels of the other accelerators are no programs. */
function umlKernel(): BootKernel {
  const path = kernelPath('uml');
  if (path !== undefined) return { path };
  throw new SandboxError('no-kernel', 'there is no kernel of User-Mode Linux, run: tsvm kernel build uml');
}

function missing(kernel: string | undefined): string {
  if (kernel === undefined) {
    return 'there is no guest kernel, run: tsvm kernel pull debian (a download), or: tsvm kernel build (some minutes)';
  }
  const verb = isPulledName(kernel) ? 'pull' : 'build';
  return `the kernel '${kernel}' is not there, run: tsvm kernel ${verb} ${kernel}`;
}
