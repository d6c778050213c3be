// The kernel of a run.
import {
  type BootKernel,
  findBootKernel,
  isBootName,
  isProgramName,
  isPulledName,
  KernelError,
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
  /** If true, the machine is not chosen yet: without a name, a kernel of any machine that it may be will do. */
  isEarly?: boolean;
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

async function find(spec: Wanted, { pull = false, isEarly = false, onPull }: FindKernelOptions): Promise<BootKernel> {
  const { kernel, kernelModules } = spec;
  const isProgram = acceleratorOf(spec) === 'uml';
  checkKind(kernel, isProgram);
  const wanted = { kernel, kernelModules, isProgram };
  let found = await findBootKernel(wanted);
  if (found === undefined && pull && kernel !== undefined && isPulledName(kernel)) {
    await pullKernel(kernel, { onProgress: (phase) => onPull?.(kernel, phase) });
    found = await findBootKernel(wanted);
  }
  if (found === undefined && isEarly && kernel === undefined && acceleratorOf(spec) === 'auto') {
    found = await findBootKernel({ isProgram: true });
  }
  if (found !== undefined) return found;
  throw new SandboxError('no-kernel', missing(kernel, isProgram));
}

/** Those at a path are checked by the machine. */
function checkKind(kernel: string | undefined, isProgram: boolean): void {
  if (kernel === undefined || !isBootName(kernel) || isProgramName(kernel) === isProgram) return;
  throw new SandboxError(
    'bad-spec',
    isProgram
      ? `the kernel '${kernel}' is not one of User-Mode Linux, which accelerator uml runs: use debian-uml or uml`
      : `the kernel '${kernel}' is one of User-Mode Linux, which accelerator uml alone runs`,
  );
}

function missing(kernel: string | undefined, isProgram: boolean): string {
  if (kernel === undefined) {
    const [what, pull, build] = isProgram
      ? ['kernel of User-Mode Linux', 'debian-uml', 'build uml']
      : ['guest kernel', 'debian', 'build'];
    return `there is no ${what}, run: tsvm kernel pull ${pull} (a download), or: tsvm kernel ${build} (some minutes)`;
  }
  const verb = isPulledName(kernel) ? 'pull' : 'build';
  return `the kernel '${kernel}' is not there, run: tsvm kernel ${verb} ${kernel}`;
}
