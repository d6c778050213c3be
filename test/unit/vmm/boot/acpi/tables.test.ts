// The ACPI tables: one device byte for byte, and any machine's through a reader of the
// specification's structures. tables.host.test.ts has ACPICA's own reader.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dsdt, fadt, madt, writeAcpiTables } from '../../../../../vmm/boot/acpi/tables.js';
import { AllocatedMemory } from '../../../../../vmm/host/memory.js';
import { readAcpi, readDsdt } from './read-acpi.js';

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

test('a virtio-mmio device is a LNRO0005 with its window and its interrupt', () => {
  const table = dsdt([{ address: 0xd0000000, irq: 5, length: 4096 }]);
  const device = [
    ...[0x5b, 0x82, 0x3a, ...Buffer.from('V000')], // Device (V000), 58 bytes
    ...[0x08, ...Buffer.from('_HID'), 0x0d, ...Buffer.from('LNRO0005\0')],
    ...[0x08, ...Buffer.from('_UID'), 0x00], // Zero
    ...[0x08, ...Buffer.from('_CRS'), 0x11, 0x1a, 0x0a, 0x17], // Buffer (23)
    ...[0x86, 9, 0, 1, 0, 0, 0, 0xd0, 0, 0x10, 0, 0], // Memory32Fixed (ReadWrite, 0xd0000000, 4096)
    ...[0x89, 6, 0, 3, 1, 5, 0, 0, 0], // Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {5}
    ...[0x79, 0],
  ];
  expect([...table.subarray(-device.length)]).toEqual(device);
});

test('the hardware is reduced: no power management, no clock chip, a reset through the i8042', () => {
  const table = Buffer.from(fadt(0xe1000));
  expect(table.readUInt32LE(112)).toBe((1 << 20) | (1 << 10));
  expect(table.readUInt16LE(109)).toBe(0x2c);
  expect([...table.subarray(116, 129)]).toEqual([1, 8, 0, 1, 0x64, 0, 0, 0, 0, 0, 0, 0, 0xfe]);
  // Neither the old pointers nor blocks of registers.
  expect([...table.subarray(36, 109)].every((byte) => byte === 0)).toBe(true);
  expect(table.readBigUInt64LE(140)).toBe(0xe1000n);
});

test("the timer's line has an override if it is not pin 0", () => {
  expect(Buffer.from(madt({ cpus: 1, timerPin: 0 })).includes(Buffer.from([2, 10, 0, 0]))).toBe(false);
  expect(Buffer.from(madt({ cpus: 1, timerPin: 2 })).includes(Buffer.from([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]))).toBe(true);
});

describe('a kernel that follows the pointer', () => {
  const devices = fc
    .array(fc.record({ address: fc.nat(0xfffff).map((page) => page * 4096), irq: fc.integer({ min: 5, max: 23 }) }), {
      maxLength: 19,
    })
    .map((list) => list.map((each) => ({ ...each, length: 4096 })));

  test('finds every processor and device, and every checksum is right', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 64 }), devices, fc.constantFrom(0, 2), (cpus, list, timerPin) => {
        using memory = AllocatedMemory.allocate(2 ** 20);
        const pointer = writeAcpiTables(memory, { cpus, devices: list, timerPin });
        const tables = readAcpi(memory, pointer);
        expect([...tables.keys()]).toEqual(['FACP', 'APIC', 'DSDT']);
        for (const bytes of tables.values()) expect(sum(bytes)).toBe(0);
        const entries = [...(tables.get('APIC') ?? [])].slice(44);
        const processors: number[] = [];
        for (let at = 0; at < entries.length; at += entries[at + 1]!) {
          if (entries[at] === 0 && entries[at + 4] === 1) processors.push(entries[at + 3]!);
        }
        expect(processors).toEqual(Array.from({ length: cpus }, (_, id) => id));
        const found = readDsdt(tables.get('DSDT')!).filter(({ hid }) => hid === 'LNRO0005');
        expect(found).toEqual(
          list.map(({ address, irq, length }, uid) => ({ hid: 'LNRO0005', uid, address, length, interrupt: irq })),
        );
      }),
    );
  });
});
