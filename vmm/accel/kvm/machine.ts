// The machine on KVM: memory, interrupt controllers, vCPUs, and devices behind virtio-mmio. It
// starts at a Linux kernel's 64-bit entry point.
//
// Interrupts are edges, as on the ISA bus that the MP table describes: an irqfd without resampling
// raises and lowers its line. No interrupt is lost: the status bit is set before the edge, and the
// driver acknowledges the bit before it reads its rings (Linux, virtio_mmio.c). A level would cost
// an exit to the I/O APIC at each end of interrupt.
import {
  BOOT_MSRS,
  baseCommandLine,
  filterCpuid,
  initramfsPaths,
  joinCommandLine,
  loadInitramfs,
  loadKernel,
  type MmioDevice,
  writeBootState,
} from '../../boot/index.js';
import { I8042, I8042_COMMAND_PORT, I8042_DATA_PORT } from '../../devices/i8042.js';
import { SERIAL_IRQ, SERIAL_PORT, Serial } from '../../devices/serial.js';
import * as libc from '../../host/libc.js';
import { AllocatedMemory } from '../../host/memory.js';
import { KVM_CAP_MAX_VCPUS } from '../../kvm/capabilities.js';
import { exitName } from '../../kvm/exits.js';
import type { Kvm } from '../../kvm/kvm.js';
import { Vcpu } from '../../kvm/vcpu.js';
import { Vm } from '../../kvm/vm.js';
import { MachineError, type MachineSpec, type MachineStatistics } from '../../machine.js';
import { parseState } from '../../saved-state.js';
import type { VirtioDevice } from '../../virtio/device.js';
import { VirtioMmio } from '../../virtio/mmio/device.js';
import { QUEUE_NOTIFY } from '../../virtio/mmio/registers.js';
import { checkLimits } from '../choose.js';
import { Lifecycle, type Machine, type MachineContext, type MachineState } from '../machine.js';
import { type SavedMachine, savedParts } from '../saved-machine.js';
import { describeEnd } from './vcpu-end.js';
import { MMIO_BASE, MMIO_WINDOW } from './vcpu-shared.js';
import type { Bus, VcpuEnd, VcpuThreads } from './vcpu-threads.js';

/**
 * Guest pages that Intel CPUs need for real mode, below the BIOS area at the end of the first 4
 * GiB.
 */
const IDENTITY_MAP_ADDRESS = 0xfffbc000;
const TSS_ADDRESS = 0xfffbd000;

/** Lines 0 to 4 belong to a PC's timer, keyboard, cascade and serial ports. */
const FIRST_DEVICE_IRQ = 5;

/** A saved machine to continue. */
export interface Saved {
  /** A {@link SavedMachine}, not checked yet. */
  state: unknown;
  /** The file that {@link KvmMachine.save} wrote, owned by the machine from now on. It must not change. */
  memory: number;
}

/** What only a machine on KVM needs. */
export interface KvmParts {
  kvm: Kvm;
  /** Owned by the machine from now on. */
  threads: VcpuThreads;
  /** Undefined: the machine boots its kernel. */
  saved?: Saved | undefined;
}

/** Allocates or maps `size` bytes of guest memory and makes them the VM's memory slots. */
function createMemory(vm: Vm, size: number, saved: Saved | undefined): AllocatedMemory {
  if (saved !== undefined && libc.fileStatus(saved.memory).size !== size) {
    const message = `the saved memory is damaged, or of another machine: it does not have ${size / 2 ** 20} MiB`;
    throw new MachineError('bad-snapshot', message);
  }
  try {
    const memory =
      saved === undefined ? AllocatedMemory.allocate(size) : AllocatedMemory.over(saved.memory, size, 'private');
    vm.addMemory(memory.regions);
    return memory;
  } catch (cause) {
    if (!(cause instanceof libc.SystemError)) throw cause;
    const message = `the host cannot provide ${size / 2 ** 20} MiB of guest memory: ${cause.message}`;
    throw new MachineError('host', message, { cause });
  }
}

/** A machine on KVM. Owns its devices, its threads and everything that it creates. */
export class KvmMachine implements Machine, Bus {
  readonly #context: MachineContext;
  readonly #kvm: Kvm;
  readonly #threads: VcpuThreads;
  readonly #lifecycle = new Lifecycle();
  readonly #memory: AllocatedMemory;
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[] = [];
  readonly #devices: readonly VirtioDevice[];
  readonly #transports: VirtioMmio[] = [];
  readonly #eventFds: number[] = [];
  readonly #serial: Serial;
  readonly #i8042: I8042;

  /**
   * Builds the machine, and loads its kernel or continues a saved one. If this throws, nothing is
   * released: the process exits and the kernel reclaims everything.
   * @throws MachineError of any code except `no-kvm` and `kvm-permission`; libc.SystemError if the
   * host refuses
   */
  constructor(
    spec: MachineSpec,
    devices: readonly VirtioDevice[],
    context: MachineContext,
    { kvm, threads, saved }: KvmParts,
  ) {
    this.#context = context;
    this.#kvm = kvm;
    this.#threads = threads;
    this.#devices = devices;
    checkLimits('kvm', devices.length);
    const maxCpus = kvm.checkExtension(KVM_CAP_MAX_VCPUS);
    if (spec.cpus > maxCpus) {
      throw new MachineError(
        'bad-spec',
        `this host's KVM supports at most ${maxCpus} CPUs in a machine, not ${spec.cpus}`,
      );
    }
    this.#vm = Vm.create(kvm);
    this.#memory = createMemory(this.#vm, spec.memory, saved);
    this.#vm.reserveRealModePages(IDENTITY_MAP_ADDRESS, TSS_ADDRESS);
    this.#vm.createIrqchip();
    // A kernel that knows kvmclock and the TSC deadline timer does not use the PIT. Others
    // calibrate against it.
    this.#vm.createPit();
    this.#serial = new Serial({
      write: (byte) => context.writeConsole(Uint8Array.of(byte)),
      setInterrupt: (level) => this.#vm.setIrqLine(SERIAL_IRQ, level ? 1 : 0),
    });
    this.#i8042 = new I8042(() => context.onReset());
    const windows = devices.map((device, index) => this.#attach(device, index));
    threads.shared.deviceCount = devices.length;
    this.#createVcpus(spec.cpus);
    if (saved === undefined) this.#load(spec, windows);
    else this.#restore(saved.state);
  }

  get state(): MachineState {
    return this.#lifecycle.state;
  }

  /**
   * Connects a device to its MMIO window, with an eventfd for each queue's kick and one for its
   * interrupt.
   */
  #attach(device: VirtioDevice, index: number): MmioDevice {
    const { loop, log } = this.#context;
    const address = MMIO_BASE + index * MMIO_WINDOW;
    const irq = FIRST_DEVICE_IRQ + index;
    const irqFd = this.#createEventFd();
    this.#vm.addIrqfd(irqFd, irq);
    const transport = new VirtioMmio(device, {
      memory: this.#memory,
      loop,
      interruptStatus: this.#threads.shared.interruptStatus.subarray(index, index + 1),
      raiseInterrupt: () => libc.signalEventFd(irqFd),
      onFailure: (reason) => log.warn({ device: device.name }, `the guest broke the device's protocol: ${reason}`),
    });
    this.#transports.push(transport);
    device.queueSizes.forEach((_, queue) => {
      const kickFd = this.#createEventFd();
      this.#vm.addIoeventfd(kickFd, address + QUEUE_NOTIFY, queue);
      loop.add(kickFd, libc.EPOLLIN, () => {
        libc.drainEventFd(kickFd);
        transport.kick(queue);
      });
    });
    return { address, irq, length: MMIO_WINDOW };
  }

  #createEventFd(): number {
    const fd = libc.createEventFd();
    this.#eventFds.push(fd);
    return fd;
  }

  #createVcpus(cpus: number): void {
    const supported = this.#kvm.supportedCpuid();
    for (let cpu = 0; cpu < cpus; cpu++) {
      const vcpu = Vcpu.create(this.#vm, cpu);
      vcpu.setCpuid(filterCpuid(supported, { cpu, cpus }));
      vcpu.setMsrs(BOOT_MSRS);
      this.#vcpus.push(vcpu);
    }
  }

  /** Only the first vCPU gets registers. The others wait for its INIT and SIPI. */
  #load(spec: MachineSpec, devices: readonly MmioDevice[]): void {
    const kernel = loadKernel(this.#memory, spec.kernel, this.#context.files);
    const initramfs = loadInitramfs(this.#memory, initramfsPaths(spec), kernel, this.#context.files);
    const acpi = spec.modules === undefined ? undefined : devices;
    const base = baseCommandLine({ ...(acpi === undefined && { devices }), console: spec.console });
    const commandLine = joinCommandLine(base, spec.commandLine);
    this.#context.log.debug({ commandLine, kernel: kernel.format }, 'boot');
    const boot = writeBootState(this.#memory, { kernel, initramfs, commandLine, cpus: spec.cpus, acpi });
    const { code, data, tss } = boot.segments;
    const [first] = this.#vcpus;
    first?.setSpecialRegisters({
      ...boot,
      segments: { cs: code, ds: data, es: data, fs: data, gs: data, ss: data, tr: tss },
    });
    first?.setRegisters({ rip: boot.rip, rsi: boot.rsi, rsp: boot.rsp, rflags: boot.rflags });
  }

  /** @throws MachineError `bad-snapshot`, and then the machine is of no use */
  #restore(saved: unknown): void {
    const state = parseState('machine', savedParts(this.#vcpus.length, this.#transports.length), saved);
    // The interrupt controllers come first: devices raise their interrupts again.
    this.#vm.restore(state.vm);
    for (const [index, vcpu] of this.#vcpus.entries()) {
      vcpu.restore(state.vcpus[index]);
      vcpu.announcePause();
    }
    this.#serial.restore(state.serial);
    this.#i8042.restore(state.i8042);
    for (const [index, transport] of this.#transports.entries()) transport.restore(state.devices[index]);
  }

  start(): void {
    this.#lifecycle.require('start', 'built');
    this.#lifecycle.become({ name: 'starting' });
    const { confine } = this.#context;
    this.#threads.start(this.#vcpus, this.#context.loop, this, {
      onStart: (startTime) => this.#onStart(startTime),
      ...(confine === undefined ? {} : { confine }),
      onEnd: (end) => this.#onEnd(end),
    });
  }

  /** A machine that crashed because another thread did not start in time stays crashed. */
  #onStart(startTime: number): void {
    if (this.state.name !== 'starting') return;
    this.#lifecycle.become({ name: 'running', startTime });
    this.#context.onStart(startTime);
  }

  #onEnd(end: VcpuEnd): void {
    if (end.kind === 'exit') {
      const registers = end.vcpu.describe();
      this.#context.log.debug({ vcpu: end.vcpu.id, registers }, `KVM exit ${exitName(end.reason)}`);
    }
    const error = describeEnd(end);
    this.#lifecycle.become({ name: 'crashed', error });
    this.#context.onCrash(error);
  }

  pause(): void {
    const { startTime } = this.#lifecycle.require('pause', 'running');
    this.#threads.pause();
    // The exit that was answered last may have ended a vCPU.
    if (this.state.name === 'running') this.#lifecycle.become({ name: 'paused', startTime });
  }

  resume(): void {
    const { startTime } = this.#lifecycle.require('resume', 'paused');
    this.#lifecycle.become({ name: 'running', startTime });
    for (const vcpu of this.#vcpus) vcpu.announcePause();
    this.#threads.resume();
  }

  /** The owner did not know that the machine is on KVM, and had made an emulator ready. */
  companionEnded(): void {}

  stop(): void {
    this.#threads.stop();
    this.#lifecycle.become({ name: 'stopped' });
  }

  get isUnsent(): boolean {
    return this.#devices.some((device) => device.isUnsent === true);
  }

  save(memory: number): SavedMachine {
    this.#lifecycle.require('save', 'paused');
    if (libc.fileStatus(memory).size !== this.#memory.size) {
      throw new MachineError('bad-state', 'the file for the memory has another size');
    }
    const state: SavedMachine = {
      accel: 'kvm',
      // Devices come first: saving one may raise an interrupt, and write to memory.
      devices: this.#transports.map((transport) => transport.save()),
      serial: this.#serial.save(),
      i8042: this.#i8042.save(),
      vcpus: this.#vcpus.map((vcpu) => vcpu.save()),
      vm: this.#vm.save(),
    };
    this.#memory.copyTo(memory);
    return state;
  }

  statistics(): MachineStatistics {
    const exits: Record<string, number> = {};
    this.#threads.exitCounts().forEach((count, reason) => {
      if (count > 0) exits[exitName(reason)] = count;
    });
    const { resident } = this.#memory;
    const memory = resident === undefined ? {} : { memory: { resident } };
    return { exits, ioctls: { ...this.#kvm.ioctls }, ...memory };
  }

  readPort(port: number): number {
    if (port === I8042_DATA_PORT || port === I8042_COMMAND_PORT) return this.#i8042.in(port);
    return this.#serial.in(port - SERIAL_PORT);
  }

  writePort(port: number, _size: number, value: number): void {
    if (port === I8042_DATA_PORT || port === I8042_COMMAND_PORT) this.#i8042.out(port, value & 0xff);
    else this.#serial.out(port - SERIAL_PORT, value & 0xff);
  }

  readMmio(address: number, data: Uint8Array): void {
    const offset = address - MMIO_BASE;
    this.#transportAt(offset).read(offset % MMIO_WINDOW, data);
  }

  writeMmio(address: number, data: Uint8Array): void {
    const offset = address - MMIO_BASE;
    this.#transportAt(offset).write(offset % MMIO_WINDOW, data);
  }

  /**
   * Returns the transport whose window holds `offset`. The vCPU thread forwards accesses to device
   * windows only.
   */
  #transportAt(offset: number): VirtioMmio {
    const transport = this.#transports[Math.floor(offset / MMIO_WINDOW)];
    if (transport === undefined) throw new RangeError(`no device at offset ${offset} of the device windows`);
    return transport;
  }

  [Symbol.dispose](): void {
    this.stop();
    this.#threads[Symbol.dispose]();
    for (const vcpu of this.#vcpus) vcpu[Symbol.dispose]();
    this.#vm[Symbol.dispose]();
    for (const device of this.#devices) device[Symbol.dispose]();
    for (const fd of this.#eventFds) {
      this.#context.loop.remove(fd);
      libc.close(fd);
    }
    this.#memory[Symbol.dispose]();
  }
}
