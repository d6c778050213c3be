// Offsets in `struct boot_params` and its setup header. A bzImage has the header at the same offset
// of its first sectors. Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header";
// Documentation/arch/x86/zero-page.rst.

export const ACPI_RSDP_ADDRESS = 0x70;
export const E820_ENTRIES = 0x1e8;
export const SETUP_HEADER = 0x1f1;
export const SETUP_SECTS = 0x1f1;
export const SYSSIZE = 0x1f4;
export const BOOT_FLAG = 0x1fe;
/**
 * The jump instruction over the header. Its displacement gives the end of the header, counted from
 * 0x202.
 */
export const JUMP_DISPLACEMENT = 0x201;
export const HEADER_MAGIC = 0x202;
export const VERSION = 0x206;
export const TYPE_OF_LOADER = 0x210;
export const LOADFLAGS = 0x211;
export const RAMDISK_IMAGE = 0x218;
export const RAMDISK_SIZE = 0x21c;
export const CMD_LINE_PTR = 0x228;
export const INITRD_ADDR_MAX = 0x22c;
export const XLOADFLAGS = 0x236;
export const CMDLINE_SIZE = 0x238;
export const SETUP_DATA = 0x250;
export const PREF_ADDRESS = 0x258;
export const INIT_SIZE = 0x260;
/** The latest end of a header: the next field of `struct boot_params` begins here. */
export const SETUP_HEADER_END = 0x290;
export const E820_TABLE = 0x2d0;

export const BOOT_FLAG_MAGIC = 0xaa55;
/** "HdrS" */
export const HDRS = 0x53726448;
/** The kernel is loaded at or above 1 MiB. */
export const LOADED_HIGH = 1;
export const XLF_KERNEL_64 = 1;
/** A loader without an assigned number. */
export const LOADER_UNDEFINED = 0xff;
