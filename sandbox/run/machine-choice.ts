// Which machine a container gets that names none: KVM, User-Mode Linux, or QEMU's emulator.
import { readFileSync } from 'node:fs';
import { hasCode } from '../../errors/index.js';
import { findBootKernel } from '../../kernels/index.js';
import type { Accelerator, ProbeResult } from '../../vmm/machine.js';
import { acceleratorOf } from '../isolation.js';
import type { JailMode } from '../jail-mode.js';
import { type JailReport, whatIsMissing } from '../jail-report.js';
import { knownKvm } from '../machine/open-kvm.js';
import { probeKvm } from '../machine/probe.js';
import { storeProbe } from '../machine/probe-cache.js';
import { vcpuCount } from '../spec/limits.js';
import type { RunSpec } from '../spec/run-spec.js';

/** What decides between User-Mode Linux and the emulator. */
export interface UmlConditions {
  /** Of the container. */
  cpus: number;
  /** The kernel that was asked for. */
  kernel: string | undefined;
  /** True if the host has a kernel of User-Mode Linux. */
  hasKernel: boolean;
  /** See `ptraceScope`. */
  scope: number;
  jailMode: JailMode;
  /** What the machine process is jailed by, with its filter of system calls. Undefined: nothing. */
  jail: JailReport | undefined;
}

/**
 * Why a container that names no machine does not get User-Mode Linux. Undefined: it gets it if KVM
 * cannot be used. Whatever it names is checked first, so that no advice is given that does not help.
 */
export function whyNotUml({ cpus, kernel, hasKernel, scope, jailMode, jail }: UmlConditions): string | undefined {
  if (kernel !== undefined) return 'another kernel is asked for';
  if (vcpuCount(cpus) > 1) return `it has one CPU, and ${vcpuCount(cpus)} are asked for`;
  if (!hasKernel) return 'its kernel is not there (tsvm kernel pull debian-uml, a download)';
  if (scope >= NO_TRACING) return `the host forbids ptrace (kernel.yama.ptrace_scope is ${scope})`;
  if (jailMode === 'off') return 'it needs a jail, and that is off';
  // The jail of its kernel has what that of the machine process has.
  const missing = jail && whatIsMissing(withoutCompanion(jail), '');
  return jail === undefined ? 'there is no jail' : missing && `its jail is not complete: ${missing}`;
}

/** From this scope on, a program without privileges may not be traced by its parent. */
const NO_TRACING = 2;

/** Whom the host's programs may trace, by its security module Yama; 0 if it has none. */
export function ptraceScope(): number {
  try {
    return Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'utf8'));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0;
    throw error;
  }
}

function withoutCompanion({ companion: _, ...own }: JailReport): JailReport {
  return own;
}

export interface MachineChoice {
  /** `auto`: KVM if it is usable, else the emulator. */
  accel: Accelerator | 'auto';
  /** Why it is not KVM, if User-Mode Linux was chosen. */
  reason?: string;
  /** Why it is not User-Mode Linux, if that might have been chosen. */
  noUml?: string;
}

/** @param noKvm why KVM cannot be used; undefined: it can. @param noUml likewise */
export function chooseMachine(
  asked: Accelerator | 'auto',
  noKvm: string | undefined,
  noUml: string | undefined,
): MachineChoice {
  if (asked !== 'auto' || noKvm === undefined) return { accel: asked };
  return noUml === undefined ? { accel: 'uml', reason: noKvm } : { accel: 'auto', noUml };
}

/** @param noKvm the machine process's reason, which has the emulator instead */
export function whyNotKvm(
  { reason, noUml }: Pick<MachineChoice, 'reason' | 'noUml'>,
  noKvm?: string,
): string | undefined {
  if (noKvm === undefined) return reason;
  return noUml === undefined ? noKvm : `${noKvm}; not User-Mode Linux: ${noUml}`;
}

export interface MachineWanted {
  spec: Pick<RunSpec, 'accel' | 'isolation' | 'cpus' | 'kernel'>;
  /** True if the run continues a saved machine, which is one of KVM. */
  isSaved: boolean;
  jailMode: JailMode;
  /** Resolves to what the machine process is jailed by. */
  jail: () => Promise<JailReport | undefined>;
  probeCache: string;
}

/** @throws SandboxError `isolation` if what is asked for is refused */
export async function machineFor({ spec, isSaved, jailMode, jail, probeCache }: MachineWanted): Promise<MachineChoice> {
  const asked = acceleratorOf(spec);
  if (asked !== 'auto' || isSaved) return { accel: asked };
  const known = knownKvm(probeCache);
  if (known?.usable) return { accel: asked };
  const hasKernel = (await findBootKernel({ isProgram: true })) !== undefined;
  const { cpus = 1, kernel } = spec;
  const noUml = whyNotUml({ cpus, kernel, hasKernel, scope: ptraceScope(), jailMode, jail: await jail() });
  if (noUml !== undefined) return { accel: asked, noUml };
  const { usable, reason } = known ?? (await probe(probeCache));
  return chooseMachine(asked, usable ? undefined : reason, noUml);
}

/** KVM has not been tried since the host booted. */
async function probe(probeCache: string): Promise<ProbeResult> {
  const result = await probeKvm();
  storeProbe(probeCache, result);
  return result;
}
