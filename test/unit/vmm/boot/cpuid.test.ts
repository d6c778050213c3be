// CPUID in the guest: hidden and forced features, and a topology that reads the same in every
// vendor's leaves.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CpuidEntry, filterCpuid } from '../../../../vmm/boot/index.js';

const ALL = 0xffffffff;

function leaf(number: number, registers: Partial<CpuidEntry> = {}): CpuidEntry {
  return { function: number, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0, ...registers };
}

/** "GenuineIntel" and "AuthenticAMD" in the registers of leaf 0. */
const intel = leaf(0, { eax: 0x1f, ebx: 0x756e6547, edx: 0x49656e69, ecx: 0x6c65746e });
const amd = leaf(0, { eax: 0x10, ebx: 0x68747541, edx: 0x69746e65, ecx: 0x444d4163 });

/** Returns what CPUID answers in the guest. A leaf that the guest did not get reads as zero. */
function cpuid(entries: CpuidEntry[], number: number, index = 0): CpuidEntry {
  return entries.find((entry) => entry.function === number && entry.index === index) ?? leaf(number);
}

const bit = (word: number, number: number) => (word >>> number) & 1;
const field = (word: number, high: number, low: number) => Math.floor(word / 2 ** low) % 2 ** (high - low + 1);

describe('features', () => {
  const everything = [amd, leaf(1, { ecx: ALL, edx: ALL }), leaf(7, { ebx: ALL, ecx: ALL, edx: ALL })];
  const given = filterCpuid([...everything, leaf(0x80000001, { ecx: ALL, edx: ALL })], { cpu: 0, cpus: 1 });

  test('that the machine does not virtualise are hidden', () => {
    const hidden = { monitor: 3, vmx: 5, smx: 6, est: 7, tm2: 8, pdcm: 15 };
    for (const number of Object.values(hidden)) expect(bit(cpuid(given, 1).ecx, number)).toBe(0);
    const hidden7 = { sgx: 2, hle: 4, rtm: 11, pt: 25 };
    for (const number of Object.values(hidden7)) expect(bit(cpuid(given, 7).ebx, number)).toBe(0);
    const svm = 2;
    expect(bit(cpuid(given, 0x80000001).ecx, svm)).toBe(0);
  });

  test('of the instruction set stay', () => {
    const { ecx } = cpuid(given, 1);
    const kept = {
      sse3: 0,
      ssse3: 9,
      fma: 12,
      cx16: 13,
      sse42: 20,
      x2apic: 21,
      aes: 25,
      xsave: 26,
      avx: 28,
      rdrand: 30,
    };
    for (const number of Object.values(kept)) expect(bit(ecx, number)).toBe(1);
    expect(bit(cpuid(given, 7).ebx, 5)).toBe(1);
    expect(bit(cpuid(given, 0x80000001).edx, 29)).toBe(1);
  });

  test('that every machine has are set even if KVM does not list them', () => {
    const given = filterCpuid([intel, leaf(1), leaf(6, { eax: ALL, ecx: ALL })], { cpu: 0, cpus: 1 });
    const { ecx } = cpuid(given, 1);
    const always = { tscDeadline: 24, hypervisor: 31 };
    for (const number of Object.values(always)) expect(bit(ecx, number)).toBe(1);
    expect(cpuid(given, 6)).toMatchObject({ eax: 4, ecx: 0 });
  });

  test('of counters, SGX, tracing and nested virtualisation have empty leaves', () => {
    const leaves = [0xa, 0x12, 0x14, 0x8000000a, 0x8000001f];
    const given = filterCpuid([intel, ...leaves.map((number) => leaf(number, { eax: ALL, ebx: 1 }))], {
      cpu: 0,
      cpus: 1,
    });
    for (const number of leaves) expect(cpuid(given, number)).toEqual(leaf(number));
  });

  test('of KVM itself are unchanged', () => {
    const kvm = [leaf(0x40000000, { eax: 0x40000001, ebx: 0x4b4d564b }), leaf(0x40000001, { eax: 0x1000a3b })];
    const given = filterCpuid([intel, ...kvm, leaf(0x80000007, { edx: 0x100 })], { cpu: 0, cpus: 1 });
    expect(given).toEqual(expect.arrayContaining([...kvm, leaf(0x80000007, { edx: 0x100 })]));
  });
});

describe.each([1, 2, 3, 4, 63, 64])('the topology of %d CPUs', (cpus) => {
  const supported = [
    leaf(1, { ebx: 0x12340800, edx: ALL }),
    leaf(4, { index: 0, flags: 1, eax: 0xfc004121 }),
    leaf(4, { index: 3, flags: 1, eax: 0xfc03c163 }),
    leaf(4, { index: 4, flags: 1 }),
    leaf(0xb, { index: 0, flags: 1, edx: 7 }),
    leaf(0x1f, { index: 0, flags: 1, edx: 7 }),
  ];
  const supportedAmd = [
    leaf(0x80000001),
    leaf(0x80000008, { eax: 0x3030, ecx: ALL }),
    leaf(0x8000001d, { index: 0, flags: 1, eax: 0x4121 }),
    leaf(0x8000001d, { index: 3, flags: 1, eax: 0x3c163 }),
    leaf(0x8000001e, { eax: ALL, ebx: ALL, ecx: ALL }),
  ];
  const last = cpus - 1;
  const idBits = Math.ceil(Math.log2(cpus));

  test('is one package of as many cores in the common leaves', () => {
    const given = filterCpuid([intel, ...supported], { cpu: last, cpus });
    const { ebx, edx } = cpuid(given, 1);
    expect([field(ebx, 31, 24), field(ebx, 23, 16), field(ebx, 15, 0)]).toEqual([last, cpus, 0x0800]);
    expect(bit(edx, 28)).toBe(cpus > 1 ? 1 : 0);
    expect(cpuid(given, 0xb, 0)).toMatchObject({ eax: 0, ebx: 1, ecx: 0x100, edx: last });
    expect(cpuid(given, 0xb, 1)).toMatchObject({ eax: idBits, ebx: cpus, ecx: 0x201, edx: last });
    expect(cpuid(given, 0xb, 2)).toMatchObject({ eax: 0, ebx: 0, ecx: 2, edx: last });
    expect(cpuid(given, 0x1f)).toEqual(leaf(0x1f));
  });

  test("is the same in Intel's leaves", () => {
    const given = filterCpuid([intel, ...supported], { cpu: last, cpus });
    const level1 = cpuid(given, 4, 0).eax;
    const level3 = cpuid(given, 4, 3).eax;
    expect([field(level1, 25, 14), field(level1, 31, 26)]).toEqual([0, cpus - 1]);
    expect([field(level3, 25, 14), field(level3, 31, 26)]).toEqual([cpus - 1, cpus - 1]);
    expect(level1 & 0x3fff).toBe(0x121);
    expect(cpuid(given, 4, 4).eax).toBe(0);
  });

  test("is the same in AMD's leaves", () => {
    const given = filterCpuid([amd, ...supported, ...supportedAmd], { cpu: last, cpus });
    expect(bit(cpuid(given, 0x80000001).ecx, 1)).toBe(cpus > 1 ? 1 : 0);
    const { eax, ecx } = cpuid(given, 0x80000008);
    expect([eax, field(ecx, 7, 0), field(ecx, 15, 12)]).toEqual([0x3030, cpus - 1, idBits]);
    expect(field(cpuid(given, 0x8000001d, 0).eax, 25, 14)).toBe(0);
    expect(field(cpuid(given, 0x8000001d, 3).eax, 25, 14)).toBe(cpus - 1);
    expect(cpuid(given, 0x8000001e)).toMatchObject({ eax: last, ebx: last, ecx: 0 });
  });
});

test("the result's values are unsigned, and KVM's entries are not changed", () => {
  const word = fc.integer({ min: 0, max: ALL });
  const entry = fc.record({
    function: fc.constantFrom(0, 1, 4, 6, 7, 0xb, 0xd, 0x80000001, 0x80000008, 0x8000001d, 0x8000001e),
    index: fc.nat(4),
    flags: fc.nat(1),
    eax: word,
    ebx: word,
    ecx: word,
    edx: word,
  });
  const property = fc.property(fc.array(entry), fc.integer({ min: 1, max: 64 }), (supported, cpus) => {
    const before = structuredClone(supported);
    for (const { eax, ebx, ecx, edx } of filterCpuid(supported, { cpu: cpus - 1, cpus })) {
      for (const register of [eax, ebx, ecx, edx]) expect(register).toBe(register >>> 0);
    }
    expect(supported).toEqual(before);
  });
  fc.assert(property);
});
