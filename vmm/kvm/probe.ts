// Finds out whether this host's KVM can run a stock 64-bit kernel. Some hosts' KVM interprets guest
// kernel mode, and can emulate neither returns from interrupts nor most other privileged
// instructions. A kernel dies early there. The probe runs a few dozen such instructions, in long
// mode, on a vCPU of its own (Intel SDM 3, 9.8.5 "Initializing IA-32e Mode").
import * as libc from '../host/libc.js';
import { AllocatedMemory, type GuestMemory } from '../host/memory.js';
import type { ProbeResult } from '../machine.js';
import type { CpuidEntry } from './cpuid.js';
import { exitName, KVM_EXIT_HLT, KVM_EXIT_IO } from './exits.js';
import { IOCTLS } from './ioctl.js';
import type { Kvm } from './kvm.js';
import type { Segment } from './segment.js';
import { kvm_run } from './structs.js';
import { Vcpu } from './vcpu.js';
import { Vm } from './vm.js';

// Layout of the guest's 64 KiB of memory.
const MEMORY_SIZE = 0x10000;
const PML4 = 0x1000;
const PDPT = 0x2000;
const PAGE_DIRECTORY = 0x3000;
const GDT = 0x4000;
const IDT = 0x5000;
const STACK_TOP = 0x7000;
const CODE = 0x8000;
const BREAKPOINT_HANDLER = 0x8100;
const SYSCALL_ENTRY = 0x8200;
const USER_CODE = 0x8300;

const KERNEL_CS = 0x08;
const KERNEL_DS = 0x10;
// 0x18 and 0x20 are user data and code, where SYSRET expects them.
const TSS = 0x28;

const PAGE_PRESENT_WRITABLE_USER = 0x7;
const PAGE_LARGE = 0x80;
const BREAKPOINT_VECTOR = 3;
const CR0_PE_MP_ET_NE_WP_PG = 0x80010033;
const CR4_PAE_OSFXSR_OSXMMEXCPT = 0x620;
const CR4_OSXSAVE = 0x40000;
const EFER_SCE_LME_LMA = 0x501;
const CPUID_1_ECX_XSAVE = 1 << 26;

/** The guest writes the number of each step to this port when it reaches the step. */
const STEP_PORT = 0xf0;
/** What each step needs, in the guest's order. */
const STEPS = [
  'long mode',
  'int3 and iretq',
  'cmpxchg16b',
  'fxsave and fxrstor',
  'xsave and xrstor',
  'cr3 and invlpg',
  'wrmsr and swapgs',
  'sysret and syscall',
];
const LAST_STEP = STEPS.length;
/** One exit for each step and the last, and the same number to spare. */
const MAX_EXITS = 2 * (STEPS.length + 1);

// biome-ignore format: one instruction a line.
const CODE_BYTES = [
  0xb0, 1,                                                // mov al, 1
  0xe6, STEP_PORT,                                        // out STEP_PORT, al
  0xcc,                                                   // int3

  0xb0, 2,                                                // mov al, 2
  0xe6, STEP_PORT,                                        // out STEP_PORT, al
  0x31, 0xc0,                                             // xor eax, eax
  0x99,                                                   // cdq
  0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x90, 0, 0,   // lock cmpxchg16b [0x9000]

  0xb0, 3,                                                // mov al, 3
  0xe6, STEP_PORT,                                        // out STEP_PORT, al
  0x48, 0x0f, 0xae, 0x04, 0x25, 0x00, 0x92, 0, 0,         // fxsave64 [0x9200]
  0x48, 0x0f, 0xae, 0x0c, 0x25, 0x00, 0x92, 0, 0,         // fxrstor64 [0x9200]

  0x85, 0xff,                                             // test edi, edi
  0x74, 30,                                               // jz to step 5: this CPU has no xsave
  0xb0, 4,                                                // mov al, 4
  0xe6, STEP_PORT,                                        // out STEP_PORT, al
  0x31, 0xc9,                                             // xor ecx, ecx
  0x0f, 0x01, 0xd0,                                       // xgetbv
  0x0f, 0x01, 0xd1,                                       // xsetbv
  0x48, 0x0f, 0xae, 0x24, 0x25, 0x00, 0x94, 0, 0,         // xsave64 [0x9400]
  0x48, 0x0f, 0xae, 0x2c, 0x25, 0x00, 0x94, 0, 0,         // xrstor64 [0x9400]

  0xb0, 5,                                                // mov al, 5
  0xe6, STEP_PORT,                                        // out STEP_PORT, al
  0x0f, 0x20, 0xd8,                                       // mov rax, cr3
  0x0f, 0x22, 0xd8,                                       // mov cr3, rax
  0x0f, 0x01, 0x3c, 0x25, 0x00, 0x90, 0, 0,               // invlpg [0x9000]

  0xb0, 6,                                                // mov al, 6
  0xe6, STEP_PORT,                                        // out STEP_PORT, al
  0xb9, 0x81, 0, 0, 0xc0,                                 // mov ecx, 0xc0000081 (STAR)
  0x31, 0xc0,                                             // xor eax, eax
  0xba, 0x08, 0x00, 0x10, 0x00,                           // mov edx, 0x00100008 (selector bases)
  0x0f, 0x30,                                             // wrmsr
  0xff, 0xc1,                                             // inc ecx (LSTAR)
  0xb8, 0x00, 0x82, 0, 0,                                 // mov eax, SYSCALL_ENTRY
  0x31, 0xd2,                                             // xor edx, edx
  0x0f, 0x30,                                             // wrmsr
  0xff, 0xc1,                                             // inc ecx
  0xff, 0xc1,                                             // inc ecx (SFMASK)
  0x31, 0xc0,                                             // xor eax, eax
  0x0f, 0x30,                                             // wrmsr
  0x0f, 0x01, 0xf8,                                       // swapgs
  0x0f, 0x01, 0xf8,                                       // swapgs

  0xb0, 7,                                                // mov al, 7
  0xe6, STEP_PORT,                                        // out STEP_PORT, al
  0xb9, 0x00, 0x83, 0, 0,                                 // mov ecx, USER_CODE
  0x41, 0xbb, 0x02, 0, 0, 0,                              // mov r11d, 2 (RFLAGS)
  0x48, 0x0f, 0x07,                                       // sysretq
];

// biome-ignore format: one instruction a line.
const BREAKPOINT_HANDLER_BYTES = [
  0x48, 0xcf,                                             // iretq
];

// biome-ignore format: one instruction a line.
const SYSCALL_ENTRY_BYTES = [
  0xb0, LAST_STEP,                                        // mov al, LAST_STEP
  0xe6, STEP_PORT,                                        // out STEP_PORT, al
  0xf4,                                                   // hlt
];

// biome-ignore format: one instruction a line.
const USER_CODE_BYTES = [
  0x0f, 0x05,                                             // syscall
];

const flat = { base: 0, limit: 0xffffffff, present: 1, dpl: 0, s: 1, g: 1 };
const CODE_SEGMENT: Segment = { ...flat, selector: KERNEL_CS, type: 0xb, db: 0, l: 1 };
const DATA_SEGMENT: Segment = { ...flat, selector: KERNEL_DS, type: 0x3, db: 1, l: 0 };
const TSS_SEGMENT: Segment = { ...flat, limit: 0x67, selector: TSS, type: 0xb, s: 0, db: 0, l: 0, g: 0 };

/** Null; kernel code and data; user data and code. */
const GDT_ENTRIES = [0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00cff3000000ffffn, 0x00affb000000ffffn];
const GDT_LIMIT = TSS + 15;

function writeMemory(memory: GuestMemory): void {
  const bytes = memory.bytes(0, MEMORY_SIZE);
  const view = new DataView(bytes.buffer, bytes.byteOffset, MEMORY_SIZE);
  view.setUint32(PML4, PDPT | PAGE_PRESENT_WRITABLE_USER, true);
  view.setUint32(PDPT, PAGE_DIRECTORY | PAGE_PRESENT_WRITABLE_USER, true);
  view.setUint32(PAGE_DIRECTORY, PAGE_LARGE | PAGE_PRESENT_WRITABLE_USER, true);
  GDT_ENTRIES.forEach((entry, index) => {
    view.setBigUint64(GDT + index * 8, entry, true);
  });
  // A 64-bit interrupt gate, present (AMD64 manual 2, 4.8.4).
  const gate = IDT + BREAKPOINT_VECTOR * 16;
  view.setUint16(gate, BREAKPOINT_HANDLER, true);
  view.setUint16(gate + 2, KERNEL_CS, true);
  view.setUint16(gate + 4, 0x8e00, true);
  bytes.set(CODE_BYTES, CODE);
  bytes.set(BREAKPOINT_HANDLER_BYTES, BREAKPOINT_HANDLER);
  bytes.set(SYSCALL_ENTRY_BYTES, SYSCALL_ENTRY);
  bytes.set(USER_CODE_BYTES, USER_CODE);
}

function setRegisters(vcpu: Vcpu, cpuid: readonly CpuidEntry[]): void {
  const leaf1 = cpuid.find((entry) => entry.function === 1);
  const hasXsave = ((leaf1?.ecx ?? 0) & CPUID_1_ECX_XSAVE) !== 0;
  const data = DATA_SEGMENT;
  vcpu.setCpuid(cpuid);
  vcpu.setSpecialRegisters({
    segments: { cs: CODE_SEGMENT, ds: data, es: data, fs: data, gs: data, ss: data, tr: TSS_SEGMENT },
    gdt: { base: GDT, limit: GDT_LIMIT },
    idt: { base: IDT, limit: (BREAKPOINT_VECTOR + 1) * 16 - 1 },
    cr0: CR0_PE_MP_ET_NE_WP_PG,
    cr3: PML4,
    cr4: CR4_PAE_OSFXSR_OSXMMEXCPT + (hasXsave ? CR4_OSXSAVE : 0),
    efer: EFER_SCE_LME_LMA,
  });
  vcpu.setRegisters({ rip: CODE, rsp: STACK_TOP, rflags: 2, rdi: hasXsave ? 1 : 0 });
}

/** Runs the guest. Returns the last step that it reached and how it ended. */
function runSteps(vcpu: Vcpu): { step: number; end: string } {
  const { run } = vcpu;
  let step = 0;
  for (let exits = 0; exits < MAX_EXITS; exits++) {
    if (libc.ioctl(vcpu.fd, IOCTLS.KVM_RUN, 0) < 0) {
      if (libc.errno() === libc.EINTR || libc.errno() === libc.EAGAIN) continue;
      return { step, end: new libc.SystemError('KVM_RUN', libc.errno()).code };
    }
    const reason = run.getUint32(kvm_run.exit_reason, true);
    if (reason !== KVM_EXIT_IO) return { step, end: exitName(reason) };
    step = run.getUint8(run.getUint32(kvm_run['io.data_offset'], true));
  }
  return { step, end: 'io' };
}

/**
 * Finds out whether `kvm` can run a stock kernel. Takes a millisecond or two.
 * @throws libc.SystemError if the host has no memory for a VM
 */
export function probeKvm(kvm: Kvm): ProbeResult {
  using memory = AllocatedMemory.allocate(MEMORY_SIZE);
  using vm = Vm.create(kvm);
  vm.addMemory(memory.regions);
  vm.reserveRealModePages(0xfffbc000, 0xfffbd000);
  using vcpu = Vcpu.create(vm, 0);
  writeMemory(memory);
  setRegisters(vcpu, kvm.supportedCpuid());
  const { step, end } = runSteps(vcpu);
  if (step === LAST_STEP && end === exitName(KVM_EXIT_HLT)) {
    return { usable: true, reason: 'KVM can run a stock kernel' };
  }
  const reason = `this host's KVM cannot run a stock kernel: the test guest failed at ${STEPS[step] ?? 'its end'} (KVM exit ${end})`;
  return { usable: false, code: 'kvm-unusable', reason };
}
