// Layouts of the structures of <linux/kvm.h> on x86-64: sizes, and byte offsets of the fields in
// use. A nested field has its C path as its name. test/kvm/structs.test.ts compares all of them
// with the C compiler's values.

export const kvm_userspace_memory_region = {
  size: 32,
  slot: 0,
  flags: 4,
  guest_phys_addr: 8,
  memory_size: 16,
  userspace_addr: 24,
} as const;
export const kvm_pit_config = { size: 64, flags: 0 } as const;
export const kvm_irq_level = { size: 8, irq: 0, level: 4 } as const;
export const kvm_irqchip = { size: 520, chip_id: 0, chip: 8 } as const;
export const kvm_irqfd = { size: 32, fd: 0, gsi: 4, flags: 8, resamplefd: 12 } as const;
export const kvm_ioeventfd = { size: 64, datamatch: 0, addr: 8, len: 16, fd: 20, flags: 24 } as const;
export const kvm_clock_data = { size: 48, clock: 0, flags: 8, realtime: 16, host_tsc: 24 } as const;
export const kvm_pit_state2 = { size: 112 } as const;
export const kvm_regs = { size: 144, rax: 0, r15: 120, rip: 128, rflags: 136 } as const;
export const kvm_segment = {
  size: 24,
  base: 0,
  limit: 8,
  selector: 12,
  type: 14,
  present: 15,
  dpl: 16,
  db: 17,
  s: 18,
  l: 19,
  g: 20,
  avl: 21,
  unusable: 22,
} as const;
export const kvm_dtable = { size: 16, base: 0, limit: 8 } as const;
export const kvm_sregs = {
  size: 312,
  cs: 0,
  ds: 24,
  es: 48,
  fs: 72,
  gs: 96,
  ss: 120,
  tr: 144,
  ldt: 168,
  gdt: 192,
  idt: 208,
  cr0: 224,
  cr2: 232,
  cr3: 240,
  cr4: 248,
  cr8: 256,
  efer: 264,
  apic_base: 272,
  interrupt_bitmap: 280,
} as const;
export const kvm_fpu = { size: 416 } as const;
export const kvm_lapic_state = { size: 1024 } as const;
export const kvm_mp_state = { size: 4, mp_state: 0 } as const;
export const kvm_vcpu_events = { size: 64, flags: 20 } as const;
export const kvm_debugregs = { size: 128 } as const;
export const kvm_xsave = { size: 4096 } as const;
export const kvm_xcrs = { size: 392, nr_xcrs: 0 } as const;
export const kvm_cpuid_entry2 = {
  size: 40,
  function: 0,
  index: 4,
  flags: 8,
  eax: 12,
  ebx: 16,
  ecx: 20,
  edx: 24,
} as const;
export const kvm_cpuid2 = { size: 8, nent: 0, entries: 8 } as const;
export const kvm_msr_list = { size: 4, nmsrs: 0, indices: 4 } as const;
export const kvm_msr_entry = { size: 16, index: 0, data: 8 } as const;
export const kvm_msrs = { size: 8, nmsrs: 0, entries: 8 } as const;
export const kvm_run = {
  size: 2352,
  request_interrupt_window: 0,
  immediate_exit: 1,
  exit_reason: 8,
  'hw.hardware_exit_reason': 32,
  'fail_entry.hardware_entry_failure_reason': 32,
  'io.direction': 32,
  'io.size': 33,
  'io.port': 34,
  'io.count': 36,
  'io.data_offset': 40,
  'mmio.phys_addr': 32,
  'mmio.data': 40,
  'mmio.len': 48,
  'mmio.is_write': 52,
  'internal.suberror': 32,
  'internal.ndata': 36,
  'internal.data': 40,
  'emulation_failure.flags': 40,
  'emulation_failure.insn_size': 48,
  'emulation_failure.insn_bytes': 49,
  'system_event.type': 32,
} as const;

/** General registers in the order of `struct kvm_regs`, 8 bytes each. */
export const REGISTER_NAMES = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
] as const;
