// A VM of KVM: memory slots, interrupt controllers, eventfds (Linux,
// Documentation/virt/kvm/api.rst, "VM ioctls").
import * as libc from '../host/libc.js';
import type { MemoryRegion } from '../host/memory.js';
import { list, nullable, parseState, record } from '../saved-state.js';
import { type IoctlName, kvmIoctl } from './ioctl.js';
import type { Kvm } from './kvm.js';
import { encodeStructure, structure } from './saved-structure.js';
import * as structs from './structs.js';

const KVM_PIT_SPEAKER_DUMMY = 1;
const KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
/** Master 8259, slave 8259, I/O APIC. */
const IRQCHIPS = [0, 1, 2];

/** Kernel structures of a VM in base64. Only {@link Vm.restore} can read them. */
export interface VmState {
  irqchips: string[];
  /** Null if the VM has no 8254 timer. */
  pit: string | null;
  clock: string;
}

const checkState = record<{ irqchips: Uint8Array[]; pit: Uint8Array | null; clock: Uint8Array }>({
  irqchips: list(structure(structs.kvm_irqchip.size), IRQCHIPS.length, IRQCHIPS.length),
  pit: nullable(structure(structs.kvm_pit_state2.size)),
  clock: structure(structs.kvm_clock_data.size),
});

/** A VM. Close its vCPUs first. */
export class Vm implements Disposable {
  #slots = 0;
  #hasPit = false;

  private constructor(
    readonly kvm: Kvm,
    readonly fd: number,
  ) {}

  /**
   * Creates an empty VM.
   * @throws libc.SystemError if KVM refuses
   */
  static create(kvm: Kvm): Vm {
    // KVM_CREATE_VM waits for the other CPUs, and any signal interrupts it.
    for (;;) {
      try {
        return new Vm(kvm, kvmIoctl(kvm.ioctls, kvm.fd, 'KVM_CREATE_VM', 0));
      } catch (error) {
        if (!(error instanceof libc.SystemError && error.errno === libc.EINTR)) throw error;
      }
    }
  }

  #ioctl(name: IoctlName, argument: number | NodeJS.TypedArray): number {
    return kvmIoctl(this.kvm.ioctls, this.fd, name, argument);
  }

  /** Makes `regions` the guest's RAM, one memory slot each. */
  addMemory(regions: readonly MemoryRegion[]): void {
    for (const region of regions) {
      const layout = structs.kvm_userspace_memory_region;
      const view = new DataView(new ArrayBuffer(layout.size));
      view.setUint32(layout.slot, this.#slots++, true);
      view.setBigUint64(layout.guest_phys_addr, BigInt(region.guestAddress), true);
      view.setBigUint64(layout.memory_size, BigInt(region.length), true);
      view.setBigUint64(layout.userspace_addr, BigInt(region.hostAddress), true);
      this.#ioctl('KVM_SET_USER_MEMORY_REGION', new Uint8Array(view.buffer));
    }
  }

  /**
   * Gives KVM the guest pages that it needs for real mode on Intel CPUs without unrestricted guest:
   * one page for the page table at `identityMap`, three for the task state at `tss`. Both must be
   * below 4 GiB and outside memory slots.
   */
  reserveRealModePages(identityMap: number, tss: number): void {
    this.#ioctl('KVM_SET_IDENTITY_MAP_ADDR', new BigUint64Array([BigInt(identityMap)]));
    this.#ioctl('KVM_SET_TSS_ADDR', tss);
  }

  /** Creates the 8259, I/O APIC and local APICs in the kernel. Call this before creating a vCPU. */
  createIrqchip(): void {
    this.#ioctl('KVM_CREATE_IRQCHIP', 0);
  }

  /** Creates the 8254 timer in the kernel. */
  createPit(): void {
    const config = new Uint8Array(structs.kvm_pit_config.size);
    config[structs.kvm_pit_config.flags] = KVM_PIT_SPEAKER_DUMMY;
    this.#ioctl('KVM_CREATE_PIT2', config);
    this.#hasPit = true;
  }

  /** Sets the level of an interrupt line. */
  setIrqLine(gsi: number, level: 0 | 1): void {
    this.#ioctl('KVM_IRQ_LINE', new Uint32Array([gsi, level]));
  }

  /** Makes each count on `eventfd` one rising and falling edge of interrupt line `gsi`. */
  addIrqfd(eventfd: number, gsi: number): void {
    const layout = structs.kvm_irqfd;
    const view = new DataView(new ArrayBuffer(layout.size));
    view.setUint32(layout.fd, eventfd, true);
    view.setUint32(layout.gsi, gsi, true);
    this.#ioctl('KVM_IRQFD', new Uint8Array(view.buffer));
  }

  /**
   * Makes a guest's 4-byte write of `value` to `address` add to `eventfd` instead of leaving
   * KVM_RUN.
   */
  addIoeventfd(eventfd: number, address: number, value: number): void {
    const layout = structs.kvm_ioeventfd;
    const view = new DataView(new ArrayBuffer(layout.size));
    view.setBigUint64(layout.datamatch, BigInt(value), true);
    view.setBigUint64(layout.addr, BigInt(address), true);
    view.setUint32(layout.len, 4, true);
    view.setInt32(layout.fd, eventfd, true);
    view.setUint32(layout.flags, KVM_IOEVENTFD_FLAG_DATAMATCH, true);
    this.#ioctl('KVM_IOEVENTFD', new Uint8Array(view.buffer));
  }

  /** Returns the state of interrupt controllers, timer and clock. The vCPUs must not be running. */
  save(): VmState {
    const irqchips = IRQCHIPS.map((chip) => {
      const state = new Uint8Array(structs.kvm_irqchip.size);
      state[structs.kvm_irqchip.chip_id] = chip;
      this.#ioctl('KVM_GET_IRQCHIP', state);
      return encodeStructure(state);
    });
    const clock = new Uint8Array(structs.kvm_clock_data.size);
    this.#ioctl('KVM_GET_CLOCK', clock);
    return { irqchips, pit: this.#hasPit ? this.#savePit() : null, clock: encodeStructure(clock) };
  }

  #savePit(): string {
    const pit = new Uint8Array(structs.kvm_pit_state2.size);
    this.#ioctl('KVM_GET_PIT2', pit);
    return encodeStructure(pit);
  }

  /**
   * Continues a saved VM on one with the same devices, before its vCPUs run.
   * @throws MachineError `bad-snapshot`, and then nothing is changed; libc.SystemError if KVM
   * refuses
   */
  restore(saved: unknown): void {
    const { irqchips, pit, clock } = parseState('vm', checkState, saved);
    for (const chip of irqchips) this.#ioctl('KVM_SET_IRQCHIP', chip);
    if (pit !== null) this.#ioctl('KVM_SET_PIT2', pit);
    // Without KVM_CLOCK_REALTIME the guest's monotonic clock continues where it stood. With it, the
    // clock would jump by the time that the machine lay on disk, and every timer would fire.
    new DataView(clock.buffer, clock.byteOffset, clock.byteLength).setUint32(structs.kvm_clock_data.flags, 0, true);
    this.#ioctl('KVM_SET_CLOCK', clock);
  }

  [Symbol.dispose](): void {
    libc.close(this.fd);
  }
}
