// The memory contents and the registers of the first CPU that a Linux kernel expects at its 64-bit
// entry point: boot.rst, "64-bit Boot Protocol".
import type { GuestMemory } from '../host/memory.js';
import type { Segment } from '../kvm/segment.js';
import { writeAcpiTables } from './acpi/tables.js';
import type { MmioDevice } from './command-line.js';
import { BOOT_SEGMENTS, writeGdt } from './gdt.js';
import { STACK_TOP } from './layout.js';
import type { LoadedInitramfs, LoadedKernel } from './loaded.js';
import { writeMpTable } from './mp-table.js';
import { writePageTables } from './page-tables.js';
import { writeZeroPage } from './zero-page.js';

const CR0_PE = 0x1;
const CR0_MP = 0x2;
const CR0_ET = 0x10;
const CR0_NE = 0x20;
const CR0_WP = 0x10000;
const CR0_PG = 0x80000000;
const CR4_PAE = 0x20;
const EFER_LME = 0x100;
const EFER_LMA = 0x400;
/** Bit 1 of RFLAGS is always set. Interrupts are off. */
const RFLAGS = 0x2;

export interface BootSpec {
  kernel: LoadedKernel;
  initramfs?: LoadedInitramfs;
  /** A result of `joinCommandLine`. */
  commandLine: string;
  /** 1 to 64. */
  cpus: number;
  /** The I/O APIC pin of the timer's interrupt line 0. Absent: 0. */
  timerPin?: number;
  /** The devices of a machine that describes itself by ACPI. Absent: there is no ACPI. */
  acpi?: readonly MmioDevice[] | undefined;
}

/**
 * The boot CPU's registers. Registers that are not named are 0. `ds`, `es`, `fs`, `gs` and `ss` are
 * `segments.data`.
 */
export interface BootRegisters {
  rip: number;
  /** Address of the zero page. */
  rsi: number;
  rsp: number;
  rflags: number;
  cr0: number;
  cr3: number;
  cr4: number;
  efer: number;
  gdt: { base: number; limit: number };
  idt: { base: number; limit: number };
  segments: { code: Segment; data: Segment; tss: Segment };
}

/**
 * Writes the boot data below 1 MiB. The other CPUs need no registers: they wait for the kernel's
 * startup interrupt.
 * @throws GuestMemoryError if memory is smaller than 1 MiB
 */
export function writeBootState(memory: GuestMemory, spec: BootSpec): BootRegisters {
  const { cpus, timerPin = 0, acpi } = spec;
  writeMpTable(memory, cpus, timerPin);
  const rsdp = acpi === undefined ? 0 : writeAcpiTables(memory, { cpus, timerPin, devices: acpi });
  return {
    rip: spec.kernel.entry,
    rsi: writeZeroPage(memory, { ...spec, rsdp }),
    rsp: STACK_TOP,
    rflags: RFLAGS,
    cr0: CR0_PE + CR0_MP + CR0_ET + CR0_NE + CR0_WP + CR0_PG,
    cr3: writePageTables(memory),
    cr4: CR4_PAE,
    efer: EFER_LME + EFER_LMA,
    gdt: writeGdt(memory),
    idt: { base: 0, limit: 0 },
    segments: BOOT_SEGMENTS,
  };
}
