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
/** End of conventional memory. From here to 1 MiB, a PC has firmware and a frame buffer. */
export const CONVENTIONAL_MEMORY_END = 0x9fc00;
/** In the BIOS area too. The kernel is told where. */
export const ACPI_ADDRESS = 0xe0000;
export const ACPI_SIZE = 0x10000;
/** In the BIOS area, where a kernel looks for the floating pointer (MP spec 1.4, section 4). */
export const MP_TABLE_ADDRESS = 0xf0000;
/** Kernels and initial RAM file systems lie at or above 1 MiB. */
export const HIGH_MEMORY_START = 0x100000;

/** Addresses of KVM's in-kernel interrupt controllers: the architecture's defaults. */
export const LOCAL_APIC_ADDRESS = 0xfee00000;
export const IO_APIC_ADDRESS = 0xfec00000;
/** Number of I/O APIC pins, and so of the machine's interrupt lines. */
export const IO_APIC_PINS = 24;
