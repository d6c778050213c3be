// The machine of a container: what its annotations say of it, and its size.
import { readBytes } from './bytes.js';
import type { OciConfig } from './config.js';
import { OciError } from './oci-error.js';

/** Bytes of a machine whose container has no limit. */
const DEFAULT_MEMORY = 2 * 2 ** 30;
/** Bytes for the kernel, beside those that a container can have. */
const KERNEL_MEMORY = 64 * 2 ** 20;
const ACCELERATORS = ['auto', 'kvm', 'tcg', 'uml'] as const;

export interface OciMachine {
  accel: (typeof ACCELERATORS)[number];
  /** Bytes of the machine, which stay as long as it runs. */
  memory: number;
  /** Bytes of the largest limit that its container can have. */
  largestLimit: number;
}

/**
 * @param limit bytes of the container's memory; 0: no limit
 * @throws OciError that names the annotation
 */
export function readMachine({ annotations }: Pick<OciConfig, 'annotations'>, limit: number): OciMachine {
  const { 'dev.tsvm.accel': accel = 'auto', 'dev.tsvm.memory': memory } = annotations ?? {};
  const found = ACCELERATORS.find((each) => each === accel);
  if (found === undefined) throw new OciError(`annotation dev.tsvm.accel: ${accel}: use auto, kvm, tcg or uml`);
  const largest = memory === undefined ? limit : sizeOf(memory, limit);
  const bytes = largest > 0 ? largest + KERNEL_MEMORY : DEFAULT_MEMORY;
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
