// The machine of a container: what its annotations say of it, and its size.
import { readBytes } from './bytes.js';
import type { OciConfig, OciResources } from './config.js';
import { OciError } from './oci-error.js';

/** Bytes of a machine whose container has no limit. */
const DEFAULT_MEMORY = 2 * 2 ** 30;
/** Bytes for the kernel, beside those that a container can have. */
const KERNEL_MEMORY = 64 * 2 ** 20;
/** Bytes of the host beside the machine's own: keeper, machine process, stubs (`npm run bench -- engines`). */
const OVERHEAD = 160 * 2 ** 20;
const ACCELERATORS = ['auto', 'kvm', 'tcg', 'uml'] as const;

export interface OciMachine {
  accel: (typeof ACCELERATORS)[number];
  /** Bytes of the machine, which stay as long as it runs. */
  memory: number;
  /** Bytes of the largest limit that its container can have. */
  largestLimit: number;
}

/** Of containerd's annotations: what the containers of a Kubernetes pod may use together. */
const POD = 'io.kubernetes.cri.sandbox-';

/**
 * What the machine that a container brings may use of the host. The first container of a pod only
 * waits, and its own configuration leaves it next to no CPU time: the pod's resources count.
 * @throws OciError that names the annotation
 */
export function machineResources({ annotations, linux }: Pick<OciConfig, 'annotations' | 'linux'>): OciResources {
  const given = annotations ?? {};
  if (given['io.kubernetes.cri.container-type'] !== 'sandbox') return linux.resources ?? {};
  const read = (name: string) => {
    const text = given[`${POD}${name}`] ?? '0';
    if (!/^-?[0-9]{1,15}$/.test(text)) throw new OciError(`annotation ${POD}${name}: ${text} is not understood`);
    return Number(text);
  };
  return {
    memory: { limit: read('memory') },
    cpu: {
      quota: read('cpu-quota'),
      period: Math.max(read('cpu-period'), 0),
      shares: Math.max(read('cpu-shares'), 0),
    },
  };
}

/**
 * @param limit bytes of the container's memory; 0: no limit
 * @param above bytes that the cgroups above the container's leave it: the kernel would kill a machine that
 *   has more
 * @throws OciError that names the annotation, or says that there is no room for a machine
 */
export function readMachine(
  { annotations }: Pick<OciConfig, 'annotations'>,
  limit = 0,
  above = Number.POSITIVE_INFINITY,
): OciMachine {
  const { 'dev.tsvm.accel': accel = 'auto', 'dev.tsvm.memory': memory } = annotations ?? {};
  const found = ACCELERATORS.find((each) => each === accel);
  if (found === undefined) throw new OciError(`annotation dev.tsvm.accel: ${accel}: use auto, kvm, tcg or uml`);
  const largest = memory === undefined ? Math.max(limit, 0) : sizeOf(memory, limit);
  const bytes = Math.min(largest > 0 ? largest + KERNEL_MEMORY : DEFAULT_MEMORY, above - OVERHEAD);
  if (bytes <= KERNEL_MEMORY) {
    const needed = OVERHEAD + KERNEL_MEMORY;
    throw new OciError(`the cgroup above has ${above} bytes of memory: a machine needs more than ${needed}`);
  }
  return { accel: found, memory: bytes, largestLimit: bytes - KERNEL_MEMORY };
}

function sizeOf(text: string, limit: number): number {
  const bytes = readBytes(text);
  if (!(bytes > 0)) throw new OciError(`annotation dev.tsvm.memory: ${text}: use a size, as 512m or 4g`);
  if (bytes < limit) {
    throw new OciError(`annotation dev.tsvm.memory: ${text} is below the memory limit of the container: ${limit}`);
  }
  return bytes;
}
