// CPUID leaves as KVM exchanges them: converts `struct kvm_cpuid2` to plain objects and back.
import { type Check, list, record, u32 } from '../saved-state.js';
import { kvm_cpuid_entry2, kvm_cpuid2 } from './structs.js';

/**
 * KVM_MAX_CPUID_ENTRIES of Linux 5.11 and later. Earlier kernels refuse only what they cannot fill.
 */
export const MAX_CPUID_ENTRIES = 256;

/** The leaf depends on `index` (ECX). */
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;

/**
 * One leaf (`struct kvm_cpuid_entry2`): what CPUID returns with EAX=function and ECX=index.
 * Unsigned 32-bit values.
 */
export interface CpuidEntry {
  function: number;
  index: number;
  flags: number;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** Checks saved leaves. */
export const checkCpuid: Check<CpuidEntry[]> = list(
  record<CpuidEntry>({ function: u32, index: u32, flags: u32, eax: u32, ebx: u32, ecx: u32, edx: u32 }),
  0,
  MAX_CPUID_ENTRIES,
);

const FIELDS = ['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx'] as const;

/** Reads the entries of a `struct kvm_cpuid2`. */
export function decodeCpuid(buffer: Uint8Array): CpuidEntry[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const count = view.getUint32(kvm_cpuid2.nent, true);
  return Array.from({ length: count }, (_, position) => {
    const at = kvm_cpuid2.entries + position * kvm_cpuid_entry2.size;
    const read = (field: (typeof FIELDS)[number]) => view.getUint32(at + kvm_cpuid_entry2[field], true);
    return {
      function: read('function'),
      index: read('index'),
      flags: read('flags'),
      eax: read('eax'),
      ebx: read('ebx'),
      ecx: read('ecx'),
      edx: read('edx'),
    };
  });
}

/** Returns the name of the first leaf that only one of the two has, or that differs: `CPUID leaf 0xd.1`. */
export function firstDifference(some: readonly CpuidEntry[], others: readonly CpuidEntry[]): string | undefined {
  const keyOf = (entry: CpuidEntry) => `0x${entry.function.toString(16)}.${entry.index}`;
  const byKey = (entries: readonly CpuidEntry[]) =>
    new Map(entries.map((entry) => [keyOf(entry), FIELDS.map((field) => entry[field]).join()]));
  const [left, right] = [byKey(some), byKey(others)];
  const key = [...left.keys(), ...right.keys()].find((each) => left.get(each) !== right.get(each));
  return key === undefined ? undefined : `CPUID leaf ${key}`;
}

/** Writes a `struct kvm_cpuid2`. */
export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array {
  const buffer = new Uint8Array(kvm_cpuid2.size + entries.length * kvm_cpuid_entry2.size);
  const view = new DataView(buffer.buffer);
  view.setUint32(kvm_cpuid2.nent, entries.length, true);
  entries.forEach((entry, position) => {
    const at = kvm_cpuid2.entries + position * kvm_cpuid_entry2.size;
    for (const field of FIELDS) view.setUint32(at + kvm_cpuid_entry2[field], entry[field], true);
  });
  return buffer;
}
