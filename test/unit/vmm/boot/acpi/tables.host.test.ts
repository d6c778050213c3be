// The ACPI tables as ACPICA reads them: the code that Linux interprets them with.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { dsdt, fadt, madt } from '../../../../../vmm/boot/acpi/tables.js';
import { Scratch } from '../kernel-images.js';

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

/** Disassembles a table, and returns the source and what iasl reports of it. */
function disassemble(name: string, table: Uint8Array): string {
  const path = join(scratch.path, `${name}.aml`);
  writeFileSync(path, table);
  const output = execFileSync('iasl', ['-d', path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  expect(output).not.toMatch(/error|warning|checksum/i);
  return readFileSync(join(scratch.path, `${name}.dsl`), 'utf8');
}

test('a DSDT of all devices is disassembled, and compiles to the same bytes', () => {
  const devices = Array.from({ length: 19 }, (_, index) => ({
    address: 0xd0000000 + index * 4096,
    irq: 5 + index,
    length: 4096,
  }));
  const table = dsdt(devices);
  const source = disassemble('dsdt', table);
  expect(source.match(/Name \(_HID, "LNRO0005"\)/g)).toHaveLength(19);
  expect(source).toMatch(/Name \(_HID, EisaId \("PNP0501"\)/);
  expect(source).toMatch(/Interrupt \(ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, \)\s+\{\s+0x00000017,/);
  // Without optimisation. Its own name in the header differs, and so the checksum.
  execFileSync('iasl', ['-oa', '-p', join(scratch.path, 'again'), join(scratch.path, 'dsdt.dsl')], { stdio: 'pipe' });
  expect(readFileSync(join(scratch.path, 'again.aml')).subarray(36)).toEqual(Buffer.from(table.subarray(36)));
});

test('a FADT and a MADT are what ACPICA takes', () => {
  expect(disassemble('fadt', fadt(0xe0040))).toMatch(/Hardware Reduced \(V5\) : 1/);
  const source = disassemble('madt', madt({ cpus: 64, timerPin: 2 }));
  expect(source.match(/\[Processor Local APIC\]/g)).toHaveLength(64);
  expect(source).toMatch(/Interrupt : 00000002/);
});
