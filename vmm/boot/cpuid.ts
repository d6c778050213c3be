// What CPUID returns in the guest: the features that KVM supports, minus those that this machine
// does not virtualise, with the machine's topology. The topology is one package of N cores with one
// thread each; APIC id = CPU number. Intel SDM volume 2, CPUID; AMD64 manual volume 3, appendix E;
// Documentation/virt/kvm/x86/cpuid.rst.
import { type CpuidEntry, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../kvm/cpuid.js';

export type { CpuidEntry } from '../kvm/cpuid.js';

export interface CpuidSpec {
  /** Number of the CPU that gets the entries. */
  cpu: number;
  /** Number of CPUs in the machine. */
  cpus: number;
}

const bits = (...numbers: number[]): number => numbers.reduce((mask, bit) => mask | (1 << bit), 0);

/** Leaves that no guest gets. An absent leaf reads as zero. */
const HIDDEN_LEAVES = new Set([
  0x3, // processor serial number
  0x5, // MONITOR/MWAIT
  0xa, // performance counters
  0xb, // topology; written anew
  0xf, // resource monitoring
  0x10, // resource allocation
  0x12, // SGX
  0x14, // processor trace
  0x1b, // PCONFIG
  0x1c, // last branch records
  0x1f, // topology, version 2
  0x23, // performance counters, extended
  0x8000000a, // SVM
  0x8000001b, // instruction-based sampling
  0x8000001f, // SEV
  0x80000020, // quality of service
  0x80000022, // performance counters, version 2
  0x80000026, // topology, extended
]);

/** Feature bits that no guest gets. */
const HIDDEN_FEATURES: { leaf: number; index?: number; register: 'eax' | 'ebx' | 'ecx' | 'edx'; mask: number }[] = [
  // DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, PDCM
  { leaf: 0x1, register: 'ecx', mask: bits(2, 3, 4, 5, 6, 7, 8, 15) },
  // DS, ACPI, TM, PBE
  { leaf: 0x1, register: 'edx', mask: bits(21, 22, 29, 31) },
  // SGX, HLE, RTM, PQM, MPX, PQE, Intel PT
  { leaf: 0x7, index: 0, register: 'ebx', mask: bits(2, 4, 11, 12, 14, 15, 25) },
  // BUS_LOCK_DETECT, SGX_LC
  { leaf: 0x7, index: 0, register: 'ecx', mask: bits(24, 30) },
  // RTM_ALWAYS_ABORT, TSX_FORCE_ABORT, PCONFIG, architectural LBR
  { leaf: 0x7, index: 0, register: 'edx', mask: bits(11, 13, 18, 19) },
  // SVM, extended APIC space, IBS, SKINIT, WDT, LWP, performance counters, MWAITX
  { leaf: 0x80000001, register: 'ecx', mask: bits(2, 3, 10, 12, 13, 15, 23, 24, 26, 28, 29) },
];

const LEAF1_ECX_TSC_DEADLINE = bits(24);
const LEAF1_ECX_HYPERVISOR = bits(31);
const LEAF1_EDX_HTT = bits(28);
const LEAF6_EAX_ARAT = bits(2);
const LEAF_8000_0001_ECX_CMP_LEGACY = bits(1);

const TOPOLOGY_SMT = 1;
const TOPOLOGY_CORE = 2;

/** Returns `word` with `value` in the `width` bits from bit `shift` on. */
function setField(word: number, shift: number, width: number, value: number): number {
  const mask = (2 ** width - 1) << shift;
  return ((word & ~mask) | ((value << shift) & mask)) >>> 0;
}

function setBits(word: number, mask: number, on: boolean): number {
  return (on ? word | mask : word & ~mask) >>> 0;
}

/** Number of APIC id bits that number the cores of the package. */
function coreIdBits(cpus: number): number {
  return Math.ceil(Math.log2(cpus));
}

/**
 * Returns one less than the number of cores that share the cache of a leaf 4 or 0x8000001d entry.
 * All cores share the third level, and none shares another.
 */
function cacheSharing(eax: number, cpus: number): number {
  const level = (eax >>> 5) & 7;
  return level >= 3 ? cpus - 1 : 0;
}

/**
 * Sets in `entry` what depends on the machine: features that every guest gets, and the topology.
 */
function setMachine(entry: CpuidEntry, { cpu, cpus }: CpuidSpec, amd: boolean): void {
  switch (entry.function) {
    case 0x1:
      entry.ebx = setField(entry.ebx, 16, 8, cpus);
      entry.ebx = setField(entry.ebx, 24, 8, cpu);
      // KVM's list lacks the deadline timer, but KVM has it wherever its interrupt controller is in
      // the kernel.
      entry.ecx = setBits(entry.ecx, LEAF1_ECX_HYPERVISOR | LEAF1_ECX_TSC_DEADLINE, true);
      entry.edx = setBits(entry.edx, LEAF1_EDX_HTT, cpus > 1);
      break;
    case 0x4:
      if ((entry.eax & 0x1f) === 0) break;
      entry.eax = setField(entry.eax, 14, 12, cacheSharing(entry.eax, cpus));
      entry.eax = setField(entry.eax, 26, 6, cpus - 1);
      break;
    case 0x6:
      Object.assign(entry, { eax: LEAF6_EAX_ARAT, ebx: 0, ecx: 0, edx: 0 });
      break;
    case 0x80000001:
      if (amd) entry.ecx = setBits(entry.ecx, LEAF_8000_0001_ECX_CMP_LEGACY, cpus > 1);
      break;
    case 0x80000008:
      if (amd) entry.ecx = setField(setField(entry.ecx, 0, 8, cpus - 1), 12, 4, coreIdBits(cpus));
      break;
    case 0x8000001d:
      if ((entry.eax & 0x1f) !== 0) entry.eax = setField(entry.eax, 14, 12, cacheSharing(entry.eax, cpus));
      break;
    case 0x8000001e:
      Object.assign(entry, { eax: cpu, ebx: cpu, ecx: 0, edx: 0 });
      break;
  }
}

/** Leaf 0xb, "Extended Topology Enumeration". */
function topology({ cpu, cpus }: CpuidSpec): CpuidEntry[] {
  const leaf = { function: 0xb, flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX, edx: cpu };
  return [
    { ...leaf, index: 0, eax: 0, ebx: 1, ecx: TOPOLOGY_SMT << 8 },
    { ...leaf, index: 1, eax: coreIdBits(cpus), ebx: cpus, ecx: 1 | (TOPOLOGY_CORE << 8) },
    { ...leaf, index: 2, eax: 0, ebx: 0, ecx: 2 },
  ];
}

/** "Auth" and "Hygo": the starts of AMD's and Hygon's names in EBX of leaf 0. */
const AMD_VENDORS = [0x68747541, 0x6f677948];

/**
 * Returns the entries for CPU `cpu` of `cpus`, made from those of KVM_GET_SUPPORTED_CPUID. The
 * paravirtual leaves 0x40000000 and 0x40000001 (kvmclock and others) and the invariant TSC stay as
 * KVM gives them.
 */
export function filterCpuid(supported: readonly CpuidEntry[], spec: CpuidSpec): CpuidEntry[] {
  const first = supported.find((entry) => entry.function === 0);
  const amd = first !== undefined && AMD_VENDORS.includes(first.ebx);
  const entries = supported.filter((entry) => !HIDDEN_LEAVES.has(entry.function)).map((entry) => ({ ...entry }));
  for (const entry of entries) {
    for (const { leaf, index, register, mask } of HIDDEN_FEATURES) {
      if (entry.function !== leaf || (index !== undefined && entry.index !== index)) continue;
      entry[register] = setBits(entry[register], mask, false);
    }
    setMachine(entry, spec, amd);
  }
  if (first !== undefined && first.eax >= 0xb) entries.push(...topology(spec));
  return entries;
}
