// Resource descriptors of a device, as `_CRS` has them: ACPI specification 6.5, section 6.4
// "Resource Data Types for ACPI".
import { buffer, type Term } from './aml.js';

const IRQ = 0x22;
const IO_PORT = 0x47;
const END_TAG = 0x79;
const MEMORY_32_FIXED = 0x86;
const EXTENDED_INTERRUPT = 0x89;

const DECODES_16_BITS = 1;
const WRITABLE = 1;
/** The device consumes the interrupt: an edge, active high, its own. */
const CONSUMED_EDGE = 0x3;

/** A window in the memory of the guest. Address and length are below 4 GiB. */
export function memory(address: number, length: number): Uint8Array {
  const descriptor = Buffer.from([MEMORY_32_FIXED, 9, 0, WRITABLE, 0, 0, 0, 0, 0, 0, 0, 0]);
  descriptor.writeUInt32LE(address, 4);
  descriptor.writeUInt32LE(length, 8);
  return descriptor;
}

/** A pin of the I/O APIC, raised by edges. */
export function interrupt(pin: number): Uint8Array {
  const descriptor = Buffer.from([EXTENDED_INTERRUPT, 6, 0, CONSUMED_EDGE, 1, 0, 0, 0, 0]);
  descriptor.writeUInt32LE(pin, 5);
  return descriptor;
}

export function ports(first: number, count: number): Uint8Array {
  const descriptor = Buffer.from([IO_PORT, DECODES_16_BITS, 0, 0, 0, 0, 1, count]);
  descriptor.writeUInt16LE(first, 2);
  descriptor.writeUInt16LE(first, 4);
  return descriptor;
}

/** A line of the ISA bus, 0 to 15: an edge, active high. */
export function isaInterrupt(line: number): Uint8Array {
  const descriptor = Buffer.from([IRQ, 0, 0]);
  descriptor.writeUInt16LE(1 << line, 1);
  return descriptor;
}

/** The value of `_CRS`. A checksum of 0 is not checked. */
export function resources(...descriptors: readonly Uint8Array[]): Term {
  return buffer(Buffer.concat([...descriptors, Uint8Array.of(END_TAG, 0)]));
}
