// Model-specific registers that firmware would set: Intel SDM volume 4 and volume 3, 12.11 "Memory
// Type Range Registers".

export interface Msr {
  index: number;
  value: number;
}

const MSR_IA32_MISC_ENABLE = 0x1a0;
const MSR_MTRR_DEF_TYPE = 0x2ff;
const MISC_ENABLE_FAST_STRING = 1;
const MTRR_ENABLE = 0x800;
const MTRR_TYPE_WRITE_BACK = 6;

/** For every CPU. A host whose KVM refuses one of them can do without it. */
export const BOOT_MSRS: readonly Msr[] = [
  // Without this, the kernel assumes that `rep movsb` is slow.
  { index: MSR_IA32_MISC_ENABLE, value: MISC_ENABLE_FAST_STRING },
  // Without this, the kernel assumes that memory is uncached, and leaves the PAT off.
  { index: MSR_MTRR_DEF_TYPE, value: MTRR_ENABLE | MTRR_TYPE_WRITE_BACK },
];
