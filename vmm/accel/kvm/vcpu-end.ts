// Turns the end of a vCPU into one error message for the user.
import {
  exitName,
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_INTERNAL_ERROR_EMULATION,
} from '../../kvm/exits.js';
import { kvm_run } from '../../kvm/structs.js';
import { MachineError } from '../../machine.js';
import type { VcpuEnd } from './vcpu-threads.js';

/** The longest x86 instruction, in bytes. */
const MAX_INSTRUCTION_SIZE = 15;

/** Returns the error of the machine whose vCPU ended. */
export function describeEnd(end: VcpuEnd): MachineError {
  if (end.kind === 'error') return new MachineError('host', `a vCPU could not run: ${end.message}`);
  const { run, id } = end.vcpu;
  const crash = (what: string) => new MachineError('guest-crash', `the guest crashed: ${what} (vCPU ${id})`);
  switch (end.reason) {
    case KVM_EXIT_SHUTDOWN:
      return crash('triple fault');
    case KVM_EXIT_FAIL_ENTRY: {
      const reason = run.getBigUint64(kvm_run['fail_entry.hardware_entry_failure_reason'], true);
      return crash(`the CPU refused VM entry, hardware reason 0x${reason.toString(16)}`);
    }
    case KVM_EXIT_INTERNAL_ERROR:
      return crash(describeInternalError(run));
    case KVM_EXIT_SYSTEM_EVENT:
      return crash(`system event ${run.getUint32(kvm_run['system_event.type'], true)}`);
    case KVM_EXIT_HLT:
      return crash('halted forever');
    default:
      return crash(`unexpected KVM exit ${exitName(end.reason)}`);
  }
}

function describeInternalError(run: DataView): string {
  const suberror = run.getUint32(kvm_run['internal.suberror'], true);
  if (suberror !== KVM_INTERNAL_ERROR_EMULATION) return `KVM internal error ${suberror}`;
  const instruction = failedInstruction(run);
  return `KVM could not emulate an instruction${instruction === '' ? '' : ` (bytes ${instruction})`}`;
}

/**
 * Returns the bytes of the instruction that could not be emulated, if KVM reports them (Linux 5.14
 * and later).
 */
function failedInstruction(run: DataView): string {
  const hasBytes =
    run.getUint32(kvm_run['internal.ndata'], true) >= 3 && run.getUint32(kvm_run['emulation_failure.flags'], true) & 1;
  if (!hasBytes) return '';
  const size = Math.min(run.getUint8(kvm_run['emulation_failure.insn_size']), MAX_INSTRUCTION_SIZE);
  return Buffer.from(run.buffer, kvm_run['emulation_failure.insn_bytes'], size).toString('hex');
}
