// The boot state of a 64-bit kernel: registers, segments and page tables, and that no two parts
// overlap.
import { describe, expect, test } from 'vitest';
import { type LoadedKernel, writeBootState } from '../../../../vmm/boot/index.js';
import { AllocatedMemory } from '../../../../vmm/host/memory.js';
import { MIB } from './kernel-images.js';

const elf: LoadedKernel = { format: 'elf', entry: 0x1000000, end: 0x2000000, initramfsLimit: 64 * MIB };

function view(memory: AllocatedMemory, address: number, length: number): DataView {
  const bytes = memory.bytes(address, length);
  return new DataView(bytes.buffer, bytes.byteOffset, length);
}

describe('the registers', () => {
  using memory = AllocatedMemory.allocate(64 * MIB);
  const registers = writeBootState(memory, { kernel: elf, commandLine: 'quiet', cpus: 1 });

  test('are those of long mode with interrupts off', () => {
    expect(registers).toMatchObject({ rip: 0x1000000, rflags: 2, cr4: 0x20, efer: 0x500, idt: { base: 0, limit: 0 } });
    expect(registers.cr0 & 0x1).toBe(1);
    expect(registers.cr0 >= 0x80000000).toBe(true);
  });

  test('hold the segments of the boot protocol', () => {
    const { code, data, tss } = registers.segments;
    expect(code).toMatchObject({ selector: 0x10, base: 0, limit: 0xffffffff, l: 1, db: 0, present: 1, s: 1, dpl: 0 });
    expect(data).toMatchObject({ selector: 0x18, base: 0, limit: 0xffffffff, l: 0, db: 1, present: 1, s: 1, dpl: 0 });
    expect(tss).toMatchObject({ selector: 0x20, type: 11, present: 1, s: 0 });
  });
});

test('the GDT has the descriptors of the segments', () => {
  using memory = AllocatedMemory.allocate(64 * MIB);
  const { gdt } = writeBootState(memory, { kernel: elf, commandLine: '', cpus: 1 });
  const table = view(memory, gdt.base, gdt.limit + 1);
  const descriptors = Array.from({ length: (gdt.limit + 1) / 8 }, (_, index) => table.getBigUint64(index * 8, true));
  expect(descriptors).toEqual([0n, 0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00008b0000000067n, 0n]);
});

test('the page tables map the first 4 GiB to themselves and nothing else', () => {
  using memory = AllocatedMemory.allocate(64 * MIB);
  const { cr3 } = writeBootState(memory, { kernel: elf, commandLine: '', cpus: 1 });
  const translate = (address: bigint): bigint | undefined => {
    let table = BigInt(cr3);
    for (const shift of [39n, 30n, 21n]) {
      const index = Number((address >> shift) & 511n);
      const entry = view(memory, Number(table), 4096).getBigUint64(index * 8, true);
      if ((entry & 3n) !== 3n) return undefined;
      table = entry & 0xffffffffff000n;
      if ((entry & 0x80n) !== 0n) return table + (address & ((1n << shift) - 1n));
    }
    return undefined;
  };
  for (let address = 0n; address < 1n << 32n; address += 1n << 21n) {
    const inside = address + 0x12345n;
    expect(translate(inside)).toBe(inside);
  }
  for (const address of [1n << 32n, 1n << 39n, 0xffff800000000000n, 0xffffffff80000000n]) {
    expect(translate(address)).toBeUndefined();
  }
});

test('no two parts of the boot data overlap', () => {
  // Each part is written to a memory of its own. What one write changes, no other may change.
  using memory = AllocatedMemory.allocate(64 * MIB);
  const { rsi, rsp, cr3, gdt } = writeBootState(memory, { kernel: elf, commandLine: 'x'.repeat(2047), cpus: 64 });
  const page = view(memory, rsi, 4096);
  const ranges = [
    { start: gdt.base, length: gdt.limit + 1 },
    { start: rsi, length: 4096 },
    { start: rsp - 0x400, length: 0x400 },
    { start: cr3, length: 6 * 4096 },
    { start: Number(page.getBigUint64(0x250, true)), length: 48 },
    { start: page.getUint32(0x228, true), length: 2048 },
    { start: 0xf0000, length: 0x10000 },
  ].sort((a, b) => a.start - b.start);
  for (const [index, { start, length }] of ranges.entries()) {
    expect(start + length).toBeLessThanOrEqual(ranges[index + 1]?.start ?? MIB);
  }
});
