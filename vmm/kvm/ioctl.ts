// The ioctls of /dev/kvm. Their numbers are computed as the C macros of <asm-generic/ioctl.h> do,
// under the names of <linux/kvm.h>.
import * as libc from '../host/libc.js';
import * as structs from './structs.js';

const KVMIO = 0xae;
const WRITE = 1;
const READ = 2;

function encode(direction: number, number: number, size: number): number {
  return ((direction << 30) | (size << 16) | (KVMIO << 8) | number) >>> 0;
}

const _IO = (number: number) => encode(0, number, 0);
const _IOW = (number: number, struct: { size: number }) => encode(WRITE, number, struct.size);
const _IOR = (number: number, struct: { size: number }) => encode(READ, number, struct.size);
const _IOWR = (number: number, struct: { size: number }) => encode(READ | WRITE, number, struct.size);

const u64 = { size: 8 };

export const IOCTLS = {
  // On /dev/kvm itself.
  KVM_GET_API_VERSION: _IO(0x00),
  KVM_CREATE_VM: _IO(0x01),
  KVM_GET_MSR_INDEX_LIST: _IOWR(0x02, structs.kvm_msr_list),
  KVM_CHECK_EXTENSION: _IO(0x03),
  KVM_GET_VCPU_MMAP_SIZE: _IO(0x04),
  KVM_GET_SUPPORTED_CPUID: _IOWR(0x05, structs.kvm_cpuid2),

  // On a VM.
  KVM_CREATE_VCPU: _IO(0x41),
  KVM_SET_USER_MEMORY_REGION: _IOW(0x46, structs.kvm_userspace_memory_region),
  KVM_SET_TSS_ADDR: _IO(0x47),
  KVM_SET_IDENTITY_MAP_ADDR: _IOW(0x48, u64),
  KVM_CREATE_IRQCHIP: _IO(0x60),
  KVM_IRQ_LINE: _IOW(0x61, structs.kvm_irq_level),
  KVM_GET_IRQCHIP: _IOWR(0x62, structs.kvm_irqchip),
  KVM_SET_IRQCHIP: _IOR(0x63, structs.kvm_irqchip),
  KVM_IRQFD: _IOW(0x76, structs.kvm_irqfd),
  KVM_CREATE_PIT2: _IOW(0x77, structs.kvm_pit_config),
  KVM_IOEVENTFD: _IOW(0x79, structs.kvm_ioeventfd),
  KVM_SET_CLOCK: _IOW(0x7b, structs.kvm_clock_data),
  KVM_GET_CLOCK: _IOR(0x7c, structs.kvm_clock_data),
  KVM_GET_PIT2: _IOR(0x9f, structs.kvm_pit_state2),
  KVM_SET_PIT2: _IOW(0xa0, structs.kvm_pit_state2),

  // On a vCPU.
  KVM_SET_SIGNAL_MASK: _IOW(0x8b, { size: 4 }),
  KVM_RUN: _IO(0x80),
  KVM_GET_REGS: _IOR(0x81, structs.kvm_regs),
  KVM_SET_REGS: _IOW(0x82, structs.kvm_regs),
  KVM_GET_SREGS: _IOR(0x83, structs.kvm_sregs),
  KVM_SET_SREGS: _IOW(0x84, structs.kvm_sregs),
  KVM_GET_MSRS: _IOWR(0x88, structs.kvm_msrs),
  KVM_SET_MSRS: _IOW(0x89, structs.kvm_msrs),
  KVM_GET_FPU: _IOR(0x8c, structs.kvm_fpu),
  KVM_SET_FPU: _IOW(0x8d, structs.kvm_fpu),
  KVM_GET_LAPIC: _IOR(0x8e, structs.kvm_lapic_state),
  KVM_SET_LAPIC: _IOW(0x8f, structs.kvm_lapic_state),
  KVM_SET_CPUID2: _IOW(0x90, structs.kvm_cpuid2),
  KVM_GET_MP_STATE: _IOR(0x98, structs.kvm_mp_state),
  KVM_SET_MP_STATE: _IOW(0x99, structs.kvm_mp_state),
  KVM_GET_VCPU_EVENTS: _IOR(0x9f, structs.kvm_vcpu_events),
  KVM_SET_VCPU_EVENTS: _IOW(0xa0, structs.kvm_vcpu_events),
  KVM_GET_DEBUGREGS: _IOR(0xa1, structs.kvm_debugregs),
  KVM_SET_DEBUGREGS: _IOW(0xa2, structs.kvm_debugregs),
  KVM_SET_TSC_KHZ: _IO(0xa2),
  KVM_GET_TSC_KHZ: _IO(0xa3),
  KVM_GET_XSAVE: _IOR(0xa4, structs.kvm_xsave),
  KVM_SET_XSAVE: _IOW(0xa5, structs.kvm_xsave),
  KVM_GET_XCRS: _IOR(0xa6, structs.kvm_xcrs),
  KVM_SET_XCRS: _IOW(0xa7, structs.kvm_xcrs),
  KVM_KVMCLOCK_CTRL: _IO(0xad),
  KVM_GET_XSAVE2: _IOR(0xcf, structs.kvm_xsave),
} as const;

export type IoctlName = keyof typeof IOCTLS;

/** Number of ioctls by name. KVM_RUN is not counted. */
export type IoctlCounts = Record<string, number>;

/**
 * Makes one KVM ioctl. Its name appears in errors and statistics.
 * @throws libc.SystemError if KVM refuses
 */
export function kvmIoctl(
  counts: IoctlCounts,
  fd: number,
  name: IoctlName,
  argument: number | NodeJS.TypedArray,
): number {
  counts[name] = (counts[name] ?? 0) + 1;
  const result =
    typeof argument === 'number'
      ? libc.ioctl(fd, IOCTLS[name], argument)
      : libc.ioctlPointer(fd, IOCTLS[name], argument);
  return libc.check(result, name);
}
