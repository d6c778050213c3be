// Where the boot data lies in guest memory: all of it in the first MiB, below any kernel.

/** Global descriptor table. */
export const GDT_ADDRESS = 0x500;
/** `struct boot_params`, one page. */
export const ZERO_PAGE_ADDRESS = 0x7000;
/** The boot CPU's stack grows down from here until the kernel has its own. */
export const STACK_TOP = 0x8ff0;
/** Identity page tables: PML4, PDPT and four page directories. */
export const PAGE_TABLES_ADDRESS = 0x9000;
/** The random seed, as a `setup_data` node. */
export const SEED_ADDRESS = 0x10000;
export const COMMAND_LINE_ADDRESS = 0x20000;
/** End of the conventional memory; from here to 1 MiB a PC has firmware and a frame buffer. */
export const CONVENTIONAL_MEMORY_END = 0x9fc00;
/** In the BIOS area, where MP spec 1.4, section 4 has a kernel look for the floating pointer. */
export const MP_TABLE_ADDRESS = 0xf0000;
/** Kernels and initial RAM file systems lie at or above 1 MiB. */
export const HIGH_MEMORY_START = 0x100000;

/** Where KVM's in-kernel interrupt controllers answer: the architecture's default addresses. */
export const LOCAL_APIC_ADDRESS = 0xfee00000;
export const IO_APIC_ADDRESS = 0xfec00000;
/** Pins of the IO-APIC, and so interrupt lines of the machine. */
export const IO_APIC_PINS = 24;
