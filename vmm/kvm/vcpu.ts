// A vCPU of KVM: its registers, and saving and restoring all its state (Linux,
// Documentation/virt/kvm/api.rst, "vCPU ioctls").
import * as libc from '../host/libc.js';
import { MachineError } from '../machine.js';
import { type Check, list, parseState, record, u32 } from '../saved-state.js';
import { KVM_CAP_TSC_CONTROL, KVM_CAP_XSAVE2 } from './capabilities.js';
import { type CpuidEntry, checkCpuid, encodeCpuid, firstDifference } from './cpuid.js';
import { type IoctlName, kvmIoctl } from './ioctl.js';
import { MAX_MSRS } from './kvm.js';
import { encodeStructure, structure, u64 } from './saved-structure.js';
import type { Segment } from './segment.js';
import * as structs from './structs.js';
import type { Vm } from './vm.js';

export type RegisterName = (typeof structs.REGISTER_NAMES)[number];
export type Registers = Record<RegisterName, bigint>;

export type SegmentName = 'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss' | 'tr' | 'ldt';

/** Special registers to set. Registers that are left out keep their values. */
export interface SpecialRegisters {
  segments: Partial<Record<SegmentName, Segment>>;
  gdt: { base: number; limit: number };
  idt: { base: number; limit: number };
  cr0: number;
  cr3: number;
  cr4: number;
  efer: number;
}

/** All state of a vCPU, as kernel structures in base64. Only {@link Vcpu.restore} can read it. */
export interface VcpuState {
  /** What {@link Vcpu.setCpuid} was given. */
  cpuid: CpuidEntry[];
  /** Frequency of the TSC that the guest sees. */
  tscKhz: number;
  xsave: string;
  /** In the order in which they must be restored. */
  msrs: { index: number; value: string }[];
  structures: Record<StructureName, string>;
}

/**
 * Structures of fixed size, in the order in which they are restored. xsave and MSRs go between the
 * two lists.
 */
const RUN_STATE = 'mp_state';
const BEFORE_MSRS = [RUN_STATE, 'regs', 'sregs', 'xcrs', 'debugregs', 'lapic_state'] as const;
const AFTER_MSRS = ['vcpu_events'] as const;
type StructureName = (typeof BEFORE_MSRS)[number] | (typeof AFTER_MSRS)[number];

const STRUCTURES = {
  mp_state: ['KVM_GET_MP_STATE', 'KVM_SET_MP_STATE', structs.kvm_mp_state],
  regs: ['KVM_GET_REGS', 'KVM_SET_REGS', structs.kvm_regs],
  sregs: ['KVM_GET_SREGS', 'KVM_SET_SREGS', structs.kvm_sregs],
  xcrs: ['KVM_GET_XCRS', 'KVM_SET_XCRS', structs.kvm_xcrs],
  debugregs: ['KVM_GET_DEBUGREGS', 'KVM_SET_DEBUGREGS', structs.kvm_debugregs],
  lapic_state: ['KVM_GET_LAPIC', 'KVM_SET_LAPIC', structs.kvm_lapic_state],
  vcpu_events: ['KVM_GET_VCPU_EVENTS', 'KVM_SET_VCPU_EVENTS', structs.kvm_vcpu_events],
} as const satisfies Record<StructureName, readonly [IoctlName, IoctlName, { size: number }]>;

type Structures = Record<StructureName, Uint8Array>;

const checkStructures = record<Structures>({
  mp_state: structure(structs.kvm_mp_state.size),
  regs: structure(structs.kvm_regs.size),
  sregs: structure(structs.kvm_sregs.size),
  xcrs: structure(structs.kvm_xcrs.size),
  debugregs: structure(structs.kvm_debugregs.size),
  lapic_state: structure(structs.kvm_lapic_state.size),
  vcpu_events: structure(structs.kvm_vcpu_events.size),
});

/** A {@link VcpuState} after its checks. */
interface DecodedState {
  cpuid: CpuidEntry[];
  tscKhz: number;
  xsave: Uint8Array;
  msrs: { index: number; value: bigint }[];
  structures: Structures;
}

/** KVM scales the TSC, or compensates for its rate, only beyond this difference (Linux, tsc_tolerance_ppm). */
const TSC_TOLERANCE = 250e-6;

/** The deadline is compared with the TSC, so it is restored after the TSC (IA32_TSC is 0x10). */
const IA32_TSC_DEADLINE = 0x6e0;

/**
 * A vCPU and its `kvm_run` mapping. KVM_RUN itself belongs to the vCPU's thread:
 * accel/kvm/vcpu-worker.ts.
 */
export class Vcpu implements Disposable {
  readonly runSize: number;
  readonly runAddress: number;
  /** `struct kvm_run`, shared with the kernel. */
  readonly run: DataView;
  #cpuid: readonly CpuidEntry[] = [];

  private constructor(
    readonly vm: Vm,
    readonly fd: number,
    readonly id: number,
  ) {
    this.runSize = vm.kvm.vcpuMmapSize;
    const prot = libc.PROT_READ | libc.PROT_WRITE;
    this.runAddress = libc.check(libc.mmap(null, this.runSize, prot, libc.MAP_SHARED, fd, 0), 'mmap');
    this.run = new DataView(libc.viewMemory(this.runAddress, this.runSize));
  }

  /** Creates the vCPU of `vm` whose APIC ID is `id`. @throws libc.SystemError if KVM refuses */
  static create(vm: Vm, id: number): Vcpu {
    return new Vcpu(vm, kvmIoctl(vm.kvm.ioctls, vm.fd, 'KVM_CREATE_VCPU', id), id);
  }

  #ioctl(name: IoctlName, argument: number | NodeJS.TypedArray): number {
    return kvmIoctl(this.vm.kvm.ioctls, this.fd, name, argument);
  }

  #get(name: IoctlName, struct: { size: number }): DataView {
    const bytes = new Uint8Array(struct.size);
    this.#ioctl(name, bytes);
    return new DataView(bytes.buffer);
  }

  /** Sets what CPUID returns in the guest. Call this before the first KVM_RUN. */
  setCpuid(entries: readonly CpuidEntry[]): void {
    this.#ioctl('KVM_SET_CPUID2', encodeCpuid(entries));
    this.#cpuid = entries;
  }

  registers(): Registers {
    const view = this.#get('KVM_GET_REGS', structs.kvm_regs);
    const entries = structs.REGISTER_NAMES.map((name, index) => [name, view.getBigUint64(index * 8, true)]);
    return Object.fromEntries(entries) as Registers;
  }

  /** Sets the named registers and leaves the others. */
  setRegisters(registers: Partial<Record<RegisterName, number | bigint>>): void {
    const view = this.#get('KVM_GET_REGS', structs.kvm_regs);
    structs.REGISTER_NAMES.forEach((name, index) => {
      const value = registers[name];
      if (value !== undefined) view.setBigUint64(index * 8, BigInt(value), true);
    });
    this.#ioctl('KVM_SET_REGS', new Uint8Array(view.buffer));
  }

  /** Sets the named special registers and leaves the others. */
  setSpecialRegisters(registers: Partial<SpecialRegisters>): void {
    const { kvm_dtable, kvm_sregs } = structs;
    const view = this.#get('KVM_GET_SREGS', kvm_sregs);
    for (const [name, segment] of Object.entries(registers.segments ?? {})) {
      writeSegment(view, kvm_sregs[name as SegmentName], segment);
    }
    for (const name of ['gdt', 'idt'] as const) {
      const table = registers[name];
      if (table === undefined) continue;
      view.setBigUint64(kvm_sregs[name] + kvm_dtable.base, BigInt(table.base), true);
      view.setUint16(kvm_sregs[name] + kvm_dtable.limit, table.limit, true);
    }
    for (const name of ['cr0', 'cr3', 'cr4', 'efer'] as const) {
      const value = registers[name];
      if (value !== undefined) view.setBigUint64(kvm_sregs[name], BigInt(value), true);
    }
    this.#ioctl('KVM_SET_SREGS', new Uint8Array(view.buffer));
  }

  setMpState(state: number): void {
    this.#ioctl('KVM_SET_MP_STATE', new Uint32Array([state]));
  }

  /** Returns the registers in hexadecimal, for a log. The vCPU must not be running. */
  describe(): Record<string, string> {
    const { kvm_sregs, kvm_segment } = structs;
    const hex = (value: bigint | number) => `0x${value.toString(16)}`;
    const sregs = this.#get('KVM_GET_SREGS', kvm_sregs);
    const described: Record<string, string> = {};
    for (const [name, value] of Object.entries(this.registers())) described[name] = hex(value);
    for (const name of ['cr0', 'cr2', 'cr3', 'cr4', 'efer'] as const) {
      described[name] = hex(sregs.getBigUint64(kvm_sregs[name], true));
    }
    for (const name of ['cs', 'ss', 'ds', 'tr'] as const) {
      described[name] = hex(sregs.getUint16(kvm_sregs[name] + kvm_segment.selector, true));
    }
    described.gdt = hex(sregs.getBigUint64(kvm_sregs.gdt, true));
    described.idt = hex(sregs.getBigUint64(kvm_sregs.idt, true));
    return described;
  }

  /**
   * Tells the guest's kvmclock that the vCPU did not run, before it runs again: the guest's watchdog
   * then does not take the pause for a lockup. A guest without a kvmclock has nothing to be told.
   */
  announcePause(): void {
    try {
      this.#ioctl('KVM_KVMCLOCK_CTRL', 0);
    } catch (error) {
      if (!(error instanceof libc.SystemError && error.errno === libc.EINVAL)) throw error;
    }
  }

  /**
   * Returns all state. The vCPU must not be running, and its last exit must be answered (see
   * `VcpuThreads.pause`).
   */
  save(): VcpuState {
    const read = (name: StructureName) => encodeStructure(this.#get(STRUCTURES[name][0], STRUCTURES[name][2]));
    // The run state is read first: reading it delivers a pending INIT or SIPI, which changes the
    // rest.
    const runState = read(RUN_STATE);
    // The TSC deadline is read before the local APIC. If the timer expires between the two, its
    // interrupt is in the APIC, and the guest gets a second one. The other way round gets it none.
    const msrs = this.#getMsrs();
    const structures = Object.fromEntries(
      [...BEFORE_MSRS, ...AFTER_MSRS].map((name) => [name, name === RUN_STATE ? runState : read(name)]),
    ) as VcpuState['structures'];
    const tscKhz = this.#ioctl('KVM_GET_TSC_KHZ', 0);
    return { cpuid: [...this.#cpuid], tscKhz, xsave: encodeStructure(this.#getXsave()), msrs, structures };
  }

  /**
   * Continues a saved vCPU on a new one with the same ID, whose VM has the same devices, and which
   * has the CPUID that this host gives to such a vCPU.
   * @throws MachineError `bad-snapshot` if the state is damaged, or the CPU or KVM differs. The vCPU
   * is of no use then. libc.SystemError if KVM refuses
   */
  restore(saved: unknown): void {
    const { cpuid, tscKhz, xsave, msrs, structures } = parseState('vcpu', this.#checkState(), saved);
    const difference = firstDifference(cpuid, this.#cpuid);
    if (difference !== undefined) {
      throw new MachineError('bad-snapshot', `the machine was saved on another CPU: ${difference} differs`);
    }
    this.#setTscKhz(tscKhz);
    this.#setStructures(structures, BEFORE_MSRS);
    this.#ioctl('KVM_SET_XSAVE', xsave);
    this.#restoreMsrs(msrs);
    this.#setStructures(structures, AFTER_MSRS);
  }

  /** @throws MachineError `bad-snapshot` if the guest's TSC would have another rate */
  #setTscKhz(wanted: number): void {
    const own = this.#ioctl('KVM_GET_TSC_KHZ', 0);
    if (Math.abs(own - wanted) <= own * TSC_TOLERANCE) return;
    if (this.vm.kvm.checkExtension(KVM_CAP_TSC_CONTROL) === 0) {
      const message = `the machine was saved on another CPU: its TSC has ${wanted} kHz, and this one's ${own} kHz`;
      throw new MachineError('bad-snapshot', message);
    }
    this.#ioctl('KVM_SET_TSC_KHZ', wanted);
  }

  /**
   * An MSR that KVM refuses to set is lost, unless it has its value already.
   * @throws MachineError `bad-snapshot` if one is lost
   */
  #restoreMsrs(msrs: DecodedState['msrs']): void {
    const refused = new Set(this.setMsrs(msrs));
    if (refused.size === 0) return;
    const values = new Map(this.#getMsrs().map(({ index, value }) => [index, BigInt(value)]));
    const lost = msrs.find(({ index, value }) => refused.has(index) && values.get(index) !== value);
    if (lost === undefined) return;
    const name = `0x${lost.index.toString(16)}`;
    throw new MachineError('bad-snapshot', `the machine was saved on another CPU or kernel: KVM refuses MSR ${name}`);
  }

  #checkState(): Check<DecodedState> {
    return record<DecodedState>({
      cpuid: checkCpuid,
      tscKhz: u32,
      xsave: structure(this.#xsaveSize()),
      msrs: list(record<DecodedState['msrs'][number]>({ index: u32, value: u64 }), 0, MAX_MSRS),
      structures: checkStructures,
    });
  }

  #setStructures(structures: Structures, names: readonly StructureName[]): void {
    for (const name of names) {
      // A CPU without XSAVE has no extended control registers, and KVM refuses to set none.
      if (name === 'xcrs' && structures.xcrs[structs.kvm_xcrs.nr_xcrs] === 0) continue;
      this.#ioctl(STRUCTURES[name][1], structures[name]);
    }
  }

  /** Bytes. More than 4096 only with features such as AMX, which need KVM_GET_XSAVE2. */
  #xsaveSize(): number {
    return Math.max(structs.kvm_xsave.size, this.vm.kvm.checkExtension(KVM_CAP_XSAVE2));
  }

  #getXsave(): DataView {
    const size = this.#xsaveSize();
    return this.#get(size > structs.kvm_xsave.size ? 'KVM_GET_XSAVE2' : 'KVM_GET_XSAVE', { size });
  }

  /**
   * KVM_GET_MSRS stops at the first MSR that it refuses. Refused MSRs are left out: what KVM refuses
   * to its host, the guest cannot have set.
   */
  #getMsrs(): VcpuState['msrs'] {
    const { kvm_msrs, kvm_msr_entry } = structs;
    const saved: VcpuState['msrs'] = [];
    let wanted = this.vm.kvm.msrIndices();
    while (wanted.length > 0) {
      const view = new DataView(new ArrayBuffer(kvm_msrs.size + wanted.length * kvm_msr_entry.size));
      view.setUint32(kvm_msrs.nmsrs, wanted.length, true);
      wanted.forEach((index, position) => {
        view.setUint32(kvm_msrs.entries + position * kvm_msr_entry.size, index, true);
      });
      const count = this.#ioctl('KVM_GET_MSRS', new Uint8Array(view.buffer));
      wanted.slice(0, count).forEach((index, position) => {
        const at = kvm_msrs.entries + position * kvm_msr_entry.size + kvm_msr_entry.data;
        saved.push({ index, value: view.getBigUint64(at, true).toString() });
      });
      wanted = wanted.slice(count + 1);
    }
    const isLate = ({ index }: { index: number }) => index === IA32_TSC_DEADLINE;
    return [...saved.filter((msr) => !isLate(msr)), ...saved.filter(isLate)];
  }

  /**
   * Sets MSRs in this order. Returns the indices of those that this host's KVM refuses: they keep
   * their values.
   */
  setMsrs(msrs: readonly { index: number; value: number | bigint }[]): number[] {
    const { kvm_msrs, kvm_msr_entry } = structs;
    const refused: number[] = [];
    let left = msrs;
    while (left.length > 0) {
      const view = new DataView(new ArrayBuffer(kvm_msrs.size + left.length * kvm_msr_entry.size));
      view.setUint32(kvm_msrs.nmsrs, left.length, true);
      left.forEach(({ index, value }, position) => {
        const at = kvm_msrs.entries + position * kvm_msr_entry.size;
        view.setUint32(at + kvm_msr_entry.index, index, true);
        view.setBigUint64(at + kvm_msr_entry.data, BigInt(value), true);
      });
      // KVM_SET_MSRS stops at the first MSR that it refuses.
      const count = this.#ioctl('KVM_SET_MSRS', new Uint8Array(view.buffer));
      refused.push(...left.slice(count, count + 1).map(({ index }) => index));
      left = left.slice(count + 1);
    }
    return refused;
  }

  [Symbol.dispose](): void {
    libc.munmap(this.runAddress, this.runSize);
    libc.close(this.fd);
  }
}

function writeSegment(view: DataView, at: number, segment: Segment): void {
  const { kvm_segment } = structs;
  view.setBigUint64(at + kvm_segment.base, BigInt(segment.base), true);
  view.setUint32(at + kvm_segment.limit, segment.limit, true);
  view.setUint16(at + kvm_segment.selector, segment.selector, true);
  for (const field of ['type', 'present', 'dpl', 'db', 's', 'l', 'g'] as const) {
    view.setUint8(at + kvm_segment[field], segment[field]);
  }
  view.setUint8(at + kvm_segment.avl, 0);
  view.setUint8(at + kvm_segment.unusable, segment.present === 0 ? 1 : 0);
}
