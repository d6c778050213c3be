// The seccomp filter of a container, for the guest's kernel.
import { type BpfInstruction, ret, SECCOMP_RET_ALLOW } from '../../../seccomp/bpf.js';
import { compileProfile, type SeccompTarget } from '../../../seccomp/compile.js';
import type { SeccompProfile } from '../../../seccomp/profile.js';
import { type Capability, MAX_INSTRUCTIONS } from '../../agent/frames.js';
import { SandboxError } from '../../errors.js';
import { REFUSE_VSOCK_64, refuseByDefault } from './refused.js';

/** What a container's filter is compiled for. */
export interface ContainerTarget extends SeccompTarget {
  capabilities: readonly Capability[];
}

/**
 * The filter of a container: it has no AF_VSOCK, and `profile` decides about the rest. Without one,
 * AF_ALG, key rings, io_uring and more are refused too (refused.ts). A profile kills a process that
 * makes system calls of another architecture.
 * @throws SandboxError `bad-spec` if the filter is longer than the kernel allows
 */
export function compileSeccomp(profile: SeccompProfile | undefined, target: ContainerTarget): BpfInstruction[] {
  if (profile === undefined) return [...refuseByDefault(target.capabilities), ret(SECCOMP_RET_ALLOW)];
  const program = compileProfile(profile, target, REFUSE_VSOCK_64);
  if (program.length > MAX_INSTRUCTIONS) {
    const message = `seccomp profile: a filter of ${program.length} instructions, at most ${MAX_INSTRUCTIONS} are possible`;
    throw new SandboxError('bad-spec', message);
  }
  return program;
}
