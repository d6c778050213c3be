// What a Linux kernel finds when it wakes.
export { type BootRegisters, type BootSpec, writeBootState } from './boot-state.js';
export { baseCommandLine, joinCommandLine, type MmioDevice } from './command-line.js';
export { type CpuidEntry, filterCpuid } from './cpuid.js';
export { type LoadedInitramfs, loadInitramfs } from './initramfs.js';
export { type LoadedKernel, loadKernel } from './kernel.js';
export { BOOT_MSRS, type Msr } from './msr.js';
export { resetImage } from './reset-vector.js';
