// The ACPI tables, from which a distribution's kernel learns of processors, interrupts and devices:
// ACPI specification 6.5, section 5.2 "ACPI System Description Tables". The machine is a
// hardware-reduced one (section 4.1): it has none of the registers of a PC's power management. A
// kernel without ACPI finds the same in the MP table and on its command line.
import { SERIAL_IRQ, SERIAL_PORT, SERIAL_PORT_LENGTH } from '../../devices/serial.js';
import type { GuestMemory } from '../../host/memory.js';
import type { MmioDevice } from '../command-line.js';
import { ACPI_ADDRESS, ACPI_SIZE, IO_APIC_ADDRESS, LOCAL_APIC_ADDRESS } from '../layout.js';
import { setUint64 } from '../uint64.js';
import { device, eisaId, integer, name, scope, text } from './aml.js';
import { interrupt, isaInterrupt, memory, ports, resources } from './resources.js';

const HEADER_SIZE = 36;
const RSDP_SIZE = 36;
const FADT_SIZE = 276;
const RSDP_CHECKSUM = 8;
const RSDP_EXTENDED_CHECKSUM = 32;
/** The part of the RSDP that ACPI 1.0 has. */
const RSDP_FIRST_SIZE = 20;
const TABLE_CHECKSUM = 9;
/** Linux wants the tables of this machine at such addresses. */
const ALIGNMENT = 16;

/** At most 6 and 8 characters. */
const OEM = 'TSVM  ';
const OEM_TABLE = 'MICROVM ';

// Offsets in the FADT (table 5.9), and its flags (tables 5.10 and 5.11).
const FADT_BOOT_ARCHITECTURE = 109;
const FADT_FLAGS = 112;
const FADT_RESET_REGISTER = 116;
const FADT_RESET_VALUE = 128;
const FADT_MINOR_VERSION = 131;
const FADT_X_DSDT = 140;
const NO_VGA = 0x4;
const NO_MSI = 0x8;
const NO_CLOCK_CHIP = 0x20;
const RESET_REGISTER_SUPPORTED = 1 << 10;
const HARDWARE_REDUCED = 1 << 20;

const SPACE_IO = 1;
const ACCESS_BYTE = 1;
/** The i8042's command that pulses the reset line, and the port for it. */
const RESET_PORT = 0x64;
const RESET_COMMAND = 0xfe;

// Types of MADT entries (table 5.21).
const LOCAL_APIC = 0;
const IO_APIC = 1;
const INTERRUPT_SOURCE_OVERRIDE = 2;
const LOCAL_APIC_NMI = 4;
const ENABLED = 1;
const ALL_PROCESSORS = 0xff;

export interface AcpiSpec {
  /** 1 to 64, with APIC ids from 0. */
  cpus: number;
  devices: readonly MmioDevice[];
  /** The I/O APIC pin of the timer's interrupt line 0. */
  timerPin: number;
}

function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

/** A table with its header (table 5.4). */
function table(signature: string, revision: number, body: Uint8Array): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(HEADER_SIZE), body]);
  bytes.write(signature, 0, 'latin1');
  bytes.writeUInt32LE(bytes.length, 4);
  bytes[8] = revision;
  bytes.write(`${OEM}${OEM_TABLE}`, 10, 'latin1');
  bytes.writeUInt32LE(1, 24);
  bytes.write('TSVM', 28, 'latin1');
  bytes.writeUInt32LE(1, 32);
  bytes[TABLE_CHECKSUM] = checksum(bytes);
  return bytes;
}

/** The devices: the serial port, and a virtio-mmio transport each (Linux, virtio_mmio.c). */
export function dsdt(devices: readonly MmioDevice[]): Uint8Array {
  const serial = device('COM1', [
    name('_HID', eisaId('PNP0501')),
    name('_UID', integer(0)),
    name('_CRS', resources(ports(SERIAL_PORT, SERIAL_PORT_LENGTH), isaInterrupt(SERIAL_IRQ))),
  ]);
  const transports = devices.map(({ address, irq, length }, index) =>
    device(`V${String(index).padStart(3, '0')}`, [
      name('_HID', text('LNRO0005')),
      name('_UID', integer(index)),
      name('_CRS', resources(memory(address, length), interrupt(irq))),
    ]),
  );
  return table('DSDT', 2, scope('_SB', [serial, ...transports]));
}

/** Processors and interrupt controllers (5.2.12). */
export function madt({ cpus, timerPin }: Pick<AcpiSpec, 'cpus' | 'timerPin'>): Uint8Array {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(LOCAL_APIC_ADDRESS, 0);
  const processors = Array.from({ length: cpus }, (_, id) => Uint8Array.of(LOCAL_APIC, 8, id, id, ENABLED, 0, 0, 0));
  // As in the MP table: after the ids of the processors.
  const ioApic = Buffer.from([IO_APIC, 12, cpus, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  ioApic.writeUInt32LE(IO_APIC_ADDRESS, 4);
  const timer = timerPin === 0 ? [] : [Uint8Array.of(INTERRUPT_SOURCE_OVERRIDE, 10, 0, 0, timerPin, 0, 0, 0, 0, 0)];
  const nmi = Uint8Array.of(LOCAL_APIC_NMI, 6, ALL_PROCESSORS, 0, 0, 1);
  return table('APIC', 5, Buffer.concat([head, ...processors, ioApic, ...timer, nmi]));
}

/** What the hardware has (5.2.9): neither a clock chip nor power management, and a way to reset it. */
export function fadt(dsdtAddress: number): Uint8Array {
  const bytes = Buffer.alloc(FADT_SIZE);
  bytes.writeUInt16LE(NO_VGA | NO_MSI | NO_CLOCK_CHIP, FADT_BOOT_ARCHITECTURE);
  bytes.writeUInt32LE(RESET_REGISTER_SUPPORTED | HARDWARE_REDUCED, FADT_FLAGS);
  bytes.set([SPACE_IO, 8, 0, ACCESS_BYTE, RESET_PORT], FADT_RESET_REGISTER);
  bytes[FADT_RESET_VALUE] = RESET_COMMAND;
  bytes[FADT_MINOR_VERSION] = 5;
  bytes.writeUInt32LE(dsdtAddress, FADT_X_DSDT);
  return table('FACP', 6, bytes.subarray(HEADER_SIZE));
}

function xsdt(addresses: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(addresses.length * 8);
  for (const [index, address] of addresses.entries()) bytes.writeUInt32LE(address, index * 8);
  return table('XSDT', 1, bytes);
}

/** The pointer that a kernel starts from (5.2.5.3). */
function rsdp(xsdtAddress: number): Uint8Array {
  const bytes = Buffer.alloc(RSDP_SIZE);
  bytes.write('RSD PTR ', 0, 'latin1');
  bytes.write(OEM, 9, 'latin1');
  bytes[15] = 2;
  bytes.writeUInt32LE(RSDP_SIZE, 20);
  setUint64(new DataView(bytes.buffer, bytes.byteOffset), 24, xsdtAddress);
  bytes[RSDP_CHECKSUM] = checksum(bytes.subarray(0, RSDP_FIRST_SIZE));
  bytes[RSDP_EXTENDED_CHECKSUM] = checksum(bytes);
  return bytes;
}

/**
 * Writes the tables. Returns the address of the pointer to them.
 * @throws GuestMemoryError if memory is smaller than 1 MiB
 */
export function writeAcpiTables(guest: GuestMemory, { cpus, devices, timerPin }: AcpiSpec): number {
  let next = ACPI_ADDRESS + RSDP_SIZE;
  const place = (bytes: Uint8Array): number => {
    const address = Math.ceil(next / ALIGNMENT) * ALIGNMENT;
    next = address + bytes.length;
    if (next > ACPI_ADDRESS + ACPI_SIZE) throw new RangeError('the ACPI tables do not fit below the MP table');
    guest.bytes(address, bytes.length).set(bytes);
    return address;
  };
  const interrupts = place(madt({ cpus, timerPin }));
  const hardware = place(fadt(place(dsdt(devices))));
  const pointer = rsdp(place(xsdt([hardware, interrupts])));
  guest.bytes(ACPI_ADDRESS, RSDP_SIZE).set(pointer);
  return ACPI_ADDRESS;
}
