// Loads a Linux kernel and writes what it expects at its entry point.
export { type BootRegisters, type BootSpec, writeBootState } from './boot-state.js';
export { baseCommandLine, joinCommandLine, type MmioDevice } from './command-line.js';
export { type CpuidEntry, filterCpuid } from './cpuid.js';
export { initramfsPaths, loadInitramfs } from './initramfs.js';
export { loadKernel } from './kernel.js';
export type { LoadedInitramfs, LoadedKernel } from './loaded.js';
export { BOOT_MSRS, type Msr } from './msr.js';
export { resetImage } from './reset-vector.js';
