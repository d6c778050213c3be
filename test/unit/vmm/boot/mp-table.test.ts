// The MP table, read back as section 4 of Intel's MultiProcessor Specification 1.4 describes it.
import { describe, expect, test } from 'vitest';
import { writeMpTable } from '../../../../vmm/boot/mp-table.js';
import { AllocatedMemory } from '../../../../vmm/host/memory.js';

/** Sizes of a processor's entry, which is of type 0, and of every other entry. */
const PROCESSOR_SIZE = 20;
const ENTRY_SIZE = 8;

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
}

function readTable(cpus: number, timerPin?: number) {
  using memory = AllocatedMemory.allocate(2 ** 20);
  writeMpTable(memory, cpus, timerPin);
  const bios = Buffer.from(memory.bytes(0xf0000, 0x10000));
  const at = bios.indexOf('_MP_');
  expect(at % 16).toBe(0);
  const pointer = bios.subarray(at, at + 16);
  const address = pointer.readUInt32LE(4);
  const length = Buffer.from(memory.bytes(address, 44)).readUInt16LE(4);
  const table = Buffer.from(memory.bytes(address, length));
  const entries: Buffer[] = [];
  for (let offset = 44; offset < length; ) {
    const size = table[offset] === 0 ? PROCESSOR_SIZE : ENTRY_SIZE;
    entries.push(table.subarray(offset, offset + size));
    offset += size;
  }
  return { pointer, address, table, entries };
}

describe.each([1, 2, 3, 64])('the MP table of %d CPUs', (cpus) => {
  const { pointer, address, table, entries } = readTable(cpus);
  const ofType = (type: number) => entries.filter((entry) => entry[0] === type);

  test('has valid signatures, addresses and checksums', () => {
    expect(sum(pointer)).toBe(0);
    expect([...pointer.subarray(8, 10)]).toEqual([1, 4]);
    expect([...pointer.subarray(11)]).toEqual([0, 0, 0, 0, 0]);
    expect(address).toBeGreaterThanOrEqual(0xf0010);
    expect(sum(table)).toBe(0);
    expect(table.toString('latin1', 0, 4)).toBe('PCMP');
    expect(table[6]).toBe(4);
    expect(table.readUInt32LE(36)).toBe(0xfee00000);
  });

  test('has the number of entries in its header, in order of their types', () => {
    expect(entries.reduce((total, entry) => total + entry.length, 44)).toBe(table.length);
    expect(table.readUInt16LE(34)).toBe(entries.length);
    const types = entries.map((entry) => entry[0]);
    expect(types).toEqual([...types].sort());
  });

  test('lists each CPU once, the first one as the boot CPU', () => {
    const processors = ofType(0).map((entry) => ({ id: entry[1], flags: entry[3] }));
    expect(processors).toEqual(Array.from({ length: cpus }, (_, id) => ({ id, flags: id === 0 ? 3 : 1 })));
  });

  test('connects each ISA interrupt line to the pin of the same number', () => {
    const [bus] = ofType(1);
    expect(bus?.toString('latin1', 2)).toBe('ISA   ');
    const [ioApic] = ofType(2);
    expect(ioApic?.[3]).toBe(1);
    expect(ioApic?.readUInt32LE(4)).toBe(0xfec00000);
    expect(ofType(0).map((entry) => entry[1])).not.toContain(ioApic?.[1]);
    expect(ofType(3).map((entry) => [...entry])).toEqual(
      Array.from({ length: 24 }, (_, line) => [3, 0, 0, 0, bus?.[1], line, ioApic?.[1], line]),
    );
  });

  test('connects the 8259 to LINT0 of the first CPU, and NMI to LINT1 of all', () => {
    expect(ofType(4).map((entry) => [entry[1], entry[6], entry[7]])).toEqual([
      [3, 0, 0],
      [1, 0xff, 1],
    ]);
  });
});

test('a timer on another pin than 0 replaces the line of that pin', () => {
  const { table, entries } = readTable(1, 2);
  expect(table.readUInt16LE(34)).toBe(entries.length);
  const lines = entries.filter((entry) => entry[0] === 3).map((entry) => [entry[5], entry[7]]);
  expect(lines).toHaveLength(23);
  expect(lines.slice(0, 3)).toEqual([
    [1, 1],
    [0, 2],
    [3, 3],
  ]);
});
