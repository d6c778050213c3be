// The machine for hosts without usable KVM. QEMU emulates CPUs, interrupt controllers and timer.
// Our devices live in this process, as on KVM, and QEMU reaches them over vhost-user. Memory,
// kernel and boot state are made here by the same code as on KVM. A firmware of a few instructions
// takes QEMU's CPU from its reset to the kernel.
import {
  baseCommandLine,
  joinCommandLine,
  loadInitramfs,
  loadKernel,
  resetImage,
  writeBootState,
} from '../../boot/index.js';
import { type ChildProcess, FIRST_INHERITED_FD } from '../../host/child-process.js';
import * as libc from '../../host/libc.js';
import { AllocatedMemory } from '../../host/memory.js';
import { MachineError, type MachineSpec, type MachineStatistics, qemuNetSocket } from '../../machine.js';
import type { VirtioDevice } from '../../virtio/device.js';
import { VhostUserBackend, type VhostUserOptions } from '../../virtio/vhost-user/device.js';
import { checkLimits } from '../choose.js';
import { Lifecycle, type Machine, type MachineContext, type MachineState } from '../machine.js';
import type { SavedMachine } from '../saved-machine.js';
import {
  connectsByPath,
  type QemuDevice,
  qemuArguments,
  TIMER_PIN,
  TRANSPORT_BASE,
  TRANSPORT_FIRST_IRQ,
  TRANSPORT_SIZE,
} from './qemu-arguments.js';
import { startQemu } from './qemu-process.js';

/** QEMU's unit of memory size: 8 KiB. */
const MEMORY_UNIT = 8192;
/** QEMU's own balloon, which comes after our devices. */
const QEMU_DEVICES = 1;

/** A machine on QEMU's CPU emulator. Owns its devices and everything that it creates. */
export class TcgMachine implements Machine {
  readonly #spec: MachineSpec;
  readonly #context: MachineContext;
  readonly #lifecycle = new Lifecycle();
  readonly #devices: readonly VirtioDevice[];
  readonly #memory: AllocatedMemory;
  readonly #firmware: number;
  readonly #backends: VhostUserBackend[] = [];
  #qemu: ChildProcess | undefined;

  /**
   * Allocates memory and loads the kernel.
   * @throws MachineError `bad-spec`, `bad-kernel`; libc.SystemError if the host refuses
   */
  constructor(spec: MachineSpec, devices: readonly VirtioDevice[], context: MachineContext) {
    this.#spec = spec;
    this.#context = context;
    this.#devices = devices;
    checkLimits('tcg', devices.length + QEMU_DEVICES);
    this.#memory = AllocatedMemory.allocate(Math.floor(spec.memory / MEMORY_UNIT) * MEMORY_UNIT);
    this.#firmware = createFile('tsvm-firmware', this.#load());
  }

  /** Loads the kernel and returns the firmware. */
  #load(): Uint8Array {
    const { spec, memory } = { spec: this.#spec, memory: this.#memory };
    const { files } = this.#context;
    const kernel = loadKernel(memory, spec.kernel, files);
    const initramfs = loadInitramfs(memory, spec.initramfs, kernel, files);
    const devices = Array.from({ length: this.#devices.length + QEMU_DEVICES }, (_, index) => ({
      address: TRANSPORT_BASE + index * TRANSPORT_SIZE,
      irq: TRANSPORT_FIRST_IRQ + index,
      length: String(TRANSPORT_SIZE),
    }));
    const base = baseCommandLine({ devices, console: spec.console });
    const commandLine = joinCommandLine([base, ...emulationParameters(spec)].join(' '), spec.commandLine);
    this.#context.log.debug({ commandLine, kernel: kernel.format }, 'boot');
    const { cpus } = spec;
    return resetImage(memory, writeBootState(memory, { kernel, initramfs, commandLine, cpus, timerPin: TIMER_PIN }));
  }

  get state(): MachineState {
    return this.#lifecycle.state;
  }

  /** Starts QEMU. @throws MachineError `no-accelerator` if QEMU is not installed; `host` */
  start(): void {
    this.#lifecycle.require('start', 'built');
    this.#lifecycle.become({ name: 'starting' });
    const { files } = this.#context;
    const netSocket = qemuNetSocket(this.#spec.vsock.path);
    const inherited = [this.#memory.fd, this.#firmware];
    const pairs: { device: VirtioDevice; ours: number; theirs: number }[] = [];
    const devices = this.#devices.map((device): QemuDevice => {
      if (connectsByPath(device)) {
        this.#accept(device, files.listen(netSocket, libc.SOCK_STREAM | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK, 1));
        inherited.push(files.openSocket(netSocket));
        return { device, socket: { path: `/dev/fd/${FIRST_INHERITED_FD + inherited.length - 1}` } };
      }
      const [ours, theirs] = libc.createSocketPair();
      pairs.push({ device, ours, theirs });
      inherited.push(theirs);
      return { device, socket: { fd: FIRST_INHERITED_FD + inherited.length - 1 } };
    });
    this.#qemu = startQemu({
      args: qemuArguments({
        cpus: this.#spec.cpus,
        memory: { size: this.#memory.size, fd: FIRST_INHERITED_FD },
        firmwareFd: FIRST_INHERITED_FD + 1,
        devices,
      }),
      inherited,
      loop: this.#context.loop,
      onOutput: (bytes) => this.#context.writeConsole(bytes),
      onEnd: (error) => this.#onEnd(error),
    });
    const last = pairs.at(-1);
    for (const pair of pairs) {
      libc.close(pair.theirs);
      // QEMU takes its devices over one after the other, and then starts the guest.
      this.#serve(pair.device, pair.ours, pair === last ? { onOwned: () => this.#onStart() } : {});
    }
    this.#context.confine?.(this.#qemu.pidFd);
  }

  /** A QEMU that its guest has taken over may take a device over again. */
  #onStart(): void {
    if (this.state.name !== 'starting') return;
    const startTime = performance.timeOrigin + performance.now();
    this.#lifecycle.become({ name: 'running', startTime });
    this.#context.onStart(startTime);
  }

  /** QEMU ended by itself. Without `error`, its guest asked for a reset. */
  #onEnd(error: MachineError | undefined): void {
    if (error === undefined) {
      this.#lifecycle.become({ name: 'stopped' });
      this.#context.onReset();
    } else {
      this.#lifecycle.become({ name: 'crashed', error });
      this.#context.onCrash(error);
    }
  }

  pause(): void {
    const { startTime } = this.#lifecycle.require('pause', 'running');
    this.#qemu?.suspend();
    this.#lifecycle.become({ name: 'paused', startTime });
  }

  resume(): void {
    const { startTime } = this.#lifecycle.require('resume', 'paused');
    this.#lifecycle.become({ name: 'running', startTime });
    this.#qemu?.resume();
  }

  /** Kills QEMU. */
  stop(): void {
    this.#qemu?.[Symbol.dispose]();
    this.#qemu = undefined;
    this.#lifecycle.become({ name: 'stopped' });
  }

  /**
   * @throws MachineError `unsupported`, always: QEMU's vhost-user front-ends for vsock, rng and fs
   * cannot be saved
   */
  save(): SavedMachine {
    throw new MachineError('unsupported', 'an emulated machine cannot be saved: use --accel kvm');
  }

  #serve(device: VirtioDevice, fd: number, { onOwned }: Pick<VhostUserOptions, 'onOwned'> = {}): void {
    const { loop, log } = this.#context;
    this.#backends.push(
      new VhostUserBackend(device, fd, {
        loop,
        ...(onOwned === undefined ? {} : { onOwned }),
        onFailure: (reason) => log.warn({ device: device.name }, `the guest broke the device's protocol: ${reason}`),
        onBroken: (reason) => log.warn({ device: device.name }, `QEMU broke the vhost-user protocol: ${reason}`),
      }),
    );
  }

  /**
   * Serves the device to the first client of the socket. Only this user may enter the socket's
   * folder.
   */
  #accept(device: VirtioDevice, listener: number): void {
    const { loop } = this.#context;
    loop.add(listener, libc.EPOLLIN, () => {
      const connection = libc.accept4(listener, null, null, libc.SOCK_CLOEXEC);
      if (connection < 0) return;
      loop.remove(listener);
      libc.close(listener);
      this.#serve(device, connection);
    });
  }

  /** Exits and ioctls are not counted: they happen inside QEMU. */
  statistics(): MachineStatistics {
    return { exits: {}, ioctls: {}, memory: { resident: this.#memory.resident } };
  }

  [Symbol.dispose](): void {
    this.stop();
    for (const backend of this.#backends) backend[Symbol.dispose]();
    for (const device of this.#devices) device[Symbol.dispose]();
    libc.close(this.#firmware);
    this.#memory[Symbol.dispose]();
  }
}

/** Returns the kernel parameters for emulated CPUs. */
export function emulationParameters({ cpus, tscKhz }: Pick<MachineSpec, 'cpus' | 'tscKhz'>): string[] {
  const parameters = ['mitigations=off'];
  // Calibrating the local APIC's timer takes a tenth of a second or more. The PIT needs no
  // calibration, but ticks for one CPU only.
  if (cpus === 1) parameters.push('nolapic_timer');
  // The emulated time stamp counter is the host's.
  if (tscKhz !== undefined) parameters.push(`tsc_early_khz=${tscKhz}`);
  return parameters;
}

function createFile(name: string, bytes: Uint8Array): number {
  const fd = libc.check(libc.memfd_create(name, libc.MFD_CLOEXEC), 'memfd_create');
  libc.check(libc.write(fd, bytes, bytes.length), 'write');
  return fd;
}
