// The MP table, which describes processors and interrupt lines to a kernel without ACPI: Intel
// MultiProcessor Specification 1.4, section 4 "MP Configuration Table".
import type { GuestMemory } from '../host/memory.js';
import { IO_APIC_ADDRESS, IO_APIC_PINS, LOCAL_APIC_ADDRESS, MP_TABLE_ADDRESS } from './layout.js';

const SPEC_REVISION = 4;
const FLOATING_POINTER_SIZE = 16;
const HEADER_SIZE = 44;
const PROCESSOR_SIZE = 20;
const ENTRY_SIZE = 8;

// Entry types (table 4-3) and interrupt types (table 4-11).
const PROCESSOR = 0;
const BUS = 1;
const IO_APIC = 2;
const IO_INTERRUPT = 3;
const LOCAL_INTERRUPT = 4;
const INT = 0;
const NMI = 1;
const EXT_INT = 3;

const ENABLED = 1;
const BOOT_PROCESSOR = 2;
const LOCAL_APIC_VERSION = 0x14;
const IO_APIC_VERSION = 0x11;
/** Family 6. The kernel reads the real value from CPUID. */
const CPU_SIGNATURE = 0x600;
/** FPU and APIC on chip. */
const CPU_FEATURES = 0x201;
const ISA_BUS_ID = 0;
const ALL_LOCAL_APICS = 0xff;

function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function entries(cpus: number, timerPin: number): Uint8Array[] {
  // After the processors' ids, so that it differs from every local APIC's.
  const ioApicId = cpus;
  const list: Uint8Array[] = [];
  for (let id = 0; id < cpus; id++) {
    const entry = Buffer.alloc(PROCESSOR_SIZE);
    entry.set([PROCESSOR, id, LOCAL_APIC_VERSION, ENABLED | (id === 0 ? BOOT_PROCESSOR : 0)]);
    entry.writeUInt32LE(CPU_SIGNATURE, 4);
    entry.writeUInt32LE(CPU_FEATURES, 8);
    list.push(entry);
  }
  list.push(Buffer.from([BUS, ISA_BUS_ID, ...Buffer.from('ISA   ')]));
  const ioApic = Buffer.from([IO_APIC, ioApicId, IO_APIC_VERSION, ENABLED, 0, 0, 0, 0]);
  ioApic.writeUInt32LE(IO_APIC_ADDRESS, 4);
  list.push(ioApic);
  // Flags 0: polarity and trigger mode conform to the bus. ISA is active high and edge-triggered.
  for (let pin = 0; pin < IO_APIC_PINS; pin++) {
    if (pin === 0 && timerPin !== 0) continue;
    list.push(Uint8Array.of(IO_INTERRUPT, INT, 0, 0, ISA_BUS_ID, pin === timerPin ? 0 : pin, ioApicId, pin));
  }
  list.push(Uint8Array.of(LOCAL_INTERRUPT, EXT_INT, 0, 0, ISA_BUS_ID, 0, 0, 0));
  list.push(Uint8Array.of(LOCAL_INTERRUPT, NMI, 0, 0, ISA_BUS_ID, 0, ALL_LOCAL_APICS, 1));
  return list;
}

/**
 * Writes the table for `cpus` processors (1 to 254) with APIC ids from 0, of which the first boots;
 * one I/O APIC; and its interrupt lines as lines of an ISA bus. Line N is pin N, except that line
 * 0, the timer's, is `timerPin`.
 */
export function writeMpTable(memory: GuestMemory, cpus: number, timerPin = 0): void {
  const list = entries(cpus, timerPin);
  const length = HEADER_SIZE + cpus * PROCESSOR_SIZE + (list.length - cpus) * ENTRY_SIZE;
  const tableAddress = MP_TABLE_ADDRESS + FLOATING_POINTER_SIZE;

  const pointer = Buffer.alloc(FLOATING_POINTER_SIZE);
  pointer.write('_MP_', 0);
  pointer.writeUInt32LE(tableAddress, 4);
  pointer.set([FLOATING_POINTER_SIZE / 16, SPEC_REVISION], 8);
  pointer[10] = checksum(pointer);

  const header = Buffer.alloc(HEADER_SIZE);
  header.write('PCMP', 0);
  header.writeUInt16LE(length, 4);
  header[6] = SPEC_REVISION;
  header.write('TSVM    MICROVM     ', 8);
  header.writeUInt16LE(list.length, 34);
  header.writeUInt32LE(LOCAL_APIC_ADDRESS, 36);
  const table = Buffer.concat([header, ...list]);
  table[7] = checksum(table);

  memory.bytes(MP_TABLE_ADDRESS, FLOATING_POINTER_SIZE).set(pointer);
  memory.bytes(tableAddress, length).set(table);
}
