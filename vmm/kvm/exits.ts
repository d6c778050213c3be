// The reasons for which KVM_RUN returns (`kvm_run.exit_reason`), and their names.

export const KVM_EXIT_UNKNOWN = 0;
export const KVM_EXIT_IO = 2;
export const KVM_EXIT_HLT = 5;
export const KVM_EXIT_MMIO = 6;
export const KVM_EXIT_SHUTDOWN = 8;
export const KVM_EXIT_FAIL_ENTRY = 9;
export const KVM_EXIT_INTR = 10;
export const KVM_EXIT_INTERNAL_ERROR = 17;
export const KVM_EXIT_SYSTEM_EVENT = 24;

/** `kvm_run.io.direction`: the guest reads a port. */
export const KVM_EXIT_IO_IN = 0;

/** `kvm_run.internal.suberror`: KVM could not emulate an instruction. */
export const KVM_INTERNAL_ERROR_EMULATION = 1;

const NAMES: Record<number, string> = {
  [KVM_EXIT_UNKNOWN]: 'unknown',
  1: 'exception',
  [KVM_EXIT_IO]: 'io',
  3: 'hypercall',
  4: 'debug',
  [KVM_EXIT_HLT]: 'hlt',
  [KVM_EXIT_MMIO]: 'mmio',
  7: 'irq_window_open',
  [KVM_EXIT_SHUTDOWN]: 'shutdown',
  [KVM_EXIT_FAIL_ENTRY]: 'fail_entry',
  [KVM_EXIT_INTR]: 'intr',
  11: 'set_tpr',
  12: 'tpr_access',
  [KVM_EXIT_INTERNAL_ERROR]: 'internal_error',
  [KVM_EXIT_SYSTEM_EVENT]: 'system_event',
  26: 'ioapic_eoi',
  29: 'x86_rdmsr',
  30: 'x86_wrmsr',
};

/** Returns KVM's name of an exit reason in lower case, or its number if it has no name here. */
export function exitName(reason: number): string {
  return NAMES[reason] ?? String(reason);
}
