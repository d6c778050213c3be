// The machine for hosts without usable KVM. QEMU emulates CPUs, interrupt controllers and timer. The
// owner of the machine starts it, in a jail of its own. Our devices live in this process, as on KVM,
// and QEMU reaches them over vhost-user. Memory, kernel and boot state are made here by the same
// code as on KVM. A firmware of a few instructions takes QEMU's CPU from its reset to the kernel.
import {
  baseCommandLine,
  initramfsPaths,
  joinCommandLine,
  loadInitramfs,
  loadKernel,
  resetImage,
  writeBootState,
} from '../../boot/index.js';
import { Companion } from '../../host/companion.js';
import * as libc from '../../host/libc.js';
import { AllocatedMemory } from '../../host/memory.js';
import {
  COMPANION_CONSOLE,
  COMPANION_LOG,
  COMPANION_START,
  type CompanionEnd,
  FIRMWARE,
  GUEST_MEMORY,
  MachineError,
  type MachineSpec,
  type MachineStatistics,
  qemuNetSocket,
  vhostName,
} from '../../machine.js';
import {
  connectsByPath,
  emulatedMemory,
  TIMER_PIN,
  TRANSPORT_BASE,
  TRANSPORT_FIRST_IRQ,
  TRANSPORT_SIZE,
} from '../../outside/qemu-arguments.js';
import type { VirtioDevice } from '../../virtio/device.js';
import { VhostUserBackend, type VhostUserOptions } from '../../virtio/vhost-user/device.js';
import { checkLimits } from '../choose.js';
import { Lifecycle, type Machine, type MachineContext, type MachineState } from '../machine.js';
import type { SavedMachine } from '../saved-machine.js';

/** QEMU's own balloon, which comes after our devices. */
const QEMU_DEVICES = 1;
/**
 * How QEMU's log ends if a triple fault, rather than a device, reset the machine. The exit code is
 * the same.
 */
const TRIPLE_FAULT = 'Triple fault\n';

/** A machine on QEMU's CPU emulator. Owns its devices and everything that it creates. */
export class TcgMachine implements Machine {
  readonly #spec: MachineSpec;
  readonly #context: MachineContext;
  readonly #lifecycle = new Lifecycle();
  readonly #devices: readonly VirtioDevice[];
  readonly #memory: AllocatedMemory;
  readonly #backends: VhostUserBackend[] = [];
  readonly #qemu: Companion;
  /** The last bytes of QEMU's log. A guest can make QEMU log without limit. */
  #logged = '';

  /**
   * Loads the kernel.
   * @throws MachineError `bad-spec`, `bad-kernel`; libc.SystemError if the host refuses
   */
  constructor(spec: MachineSpec, devices: readonly VirtioDevice[], context: MachineContext) {
    this.#spec = spec;
    this.#context = context;
    this.#devices = devices;
    checkLimits('tcg', devices.length + QEMU_DEVICES);
    const { files, loop } = context;
    this.#memory = AllocatedMemory.over(files.take(GUEST_MEMORY), emulatedMemory(spec));
    const firmware = files.take(FIRMWARE);
    const image = this.#load();
    libc.check(libc.write(firmware, image, image.length), 'write');
    libc.close(firmware);
    this.#qemu = new Companion(loop, {
      start: files.take(COMPANION_START),
      outputs: new Map([
        [files.take(COMPANION_CONSOLE), (bytes) => context.writeConsole(bytes)],
        [files.take(COMPANION_LOG), (bytes) => this.#readLog(bytes)],
      ]),
    });
  }

  #readLog(bytes: Uint8Array): void {
    this.#logged = (this.#logged + Buffer.from(bytes).toString('latin1')).slice(-TRIPLE_FAULT.length);
  }

  /** Loads the kernel and returns the firmware. */
  #load(): Uint8Array {
    const { spec, memory } = { spec: this.#spec, memory: this.#memory };
    const { files } = this.#context;
    const kernel = loadKernel(memory, spec.kernel, files);
    const initramfs = loadInitramfs(memory, initramfsPaths(spec), kernel, files);
    const devices = Array.from({ length: this.#devices.length + QEMU_DEVICES }, (_, index) => ({
      address: TRANSPORT_BASE + index * TRANSPORT_SIZE,
      irq: TRANSPORT_FIRST_IRQ + index,
      length: TRANSPORT_SIZE,
    }));
    const acpi = spec.modules === undefined ? undefined : devices;
    const base = baseCommandLine({ ...(acpi === undefined && { devices }), console: spec.console });
    const commandLine = joinCommandLine([base, ...emulationParameters(spec)].join(' '), spec.commandLine);
    this.#context.log.debug({ commandLine, kernel: kernel.format }, 'boot');
    const { cpus } = spec;
    const boot = { kernel, initramfs, commandLine, cpus, timerPin: TIMER_PIN, acpi };
    return resetImage(memory, writeBootState(memory, boot));
  }

  get state(): MachineState {
    return this.#lifecycle.state;
  }

  /** Lets QEMU run. @throws MachineError `bad-spec` if the owner has not sent what QEMU is connected to */
  start(): void {
    this.#lifecycle.require('start', 'built');
    this.#lifecycle.become({ name: 'starting' });
    const { files } = this.#context;
    let networks = 0;
    const last = this.#devices.findLastIndex(({ name }) => !connectsByPath(name));
    for (const [index, device] of this.#devices.entries()) {
      if (connectsByPath(device.name)) {
        const netSocket = qemuNetSocket(this.#spec.vsock.path, networks++);
        this.#accept(device, files.listen(netSocket, libc.SOCK_STREAM | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK, 1));
        continue;
      }
      // QEMU takes its devices over one after the other, and then starts the guest.
      const onOwned = index === last ? { onOwned: () => this.#onStart() } : {};
      this.#serve(device, files.take(vhostName(index)), onOwned);
    }
    this.#qemu.start();
    this.#context.confine?.();
  }

  /** A QEMU that its guest has taken over may take a device over again. */
  #onStart(): void {
    if (this.state.name !== 'starting') return;
    const startTime = performance.timeOrigin + performance.now();
    this.#lifecycle.become({ name: 'running', startTime });
    this.#context.onStart(startTime);
  }

  /** QEMU ended by itself: its guest asked for a reset, or one of both broke. */
  companionEnded(end: CompanionEnd): void {
    if (this.state.name === 'stopped') return;
    this.#qemu.drain();
    const error = this.#errorOf(end);
    if (error === undefined) {
      this.#lifecycle.become({ name: 'stopped' });
      this.#context.onReset();
    } else {
      this.#lifecycle.become({ name: 'crashed', error });
      this.#context.onCrash(error);
    }
  }

  #errorOf({ exitCode, outcome, said }: CompanionEnd): MachineError | undefined {
    if (exitCode !== 0) return new MachineError('host', `QEMU ended (${outcome})${said === '' ? '' : `: ${said}`}`);
    const crashed = this.#logged.endsWith(TRIPLE_FAULT);
    return crashed ? new MachineError('guest-crash', 'the guest crashed: triple fault') : undefined;
  }

  /** @throws MachineError `unsupported`, always: the owner stops QEMU together with this process */
  pause(): void {
    throw new MachineError('unsupported', 'an emulated machine is paused by its owner');
  }

  /** @throws MachineError `unsupported`, always */
  resume(): void {
    this.pause();
  }

  /** Lets go of QEMU, which the owner kills when this process ends. */
  stop(): void {
    this.#qemu[Symbol.dispose]();
    for (const backend of this.#backends) backend[Symbol.dispose]();
    this.#lifecycle.become({ name: 'stopped' });
  }

  /** It is not saved. */
  readonly isUnsent = false;

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
    return { exits: {}, ioctls: {}, memory: { resident: this.#memory.resident ?? 0 } };
  }

  [Symbol.dispose](): void {
    this.stop();
    for (const device of this.#devices) device[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}

/** Returns the kernel parameters for emulated CPUs. */
export function emulationParameters({
  cpus,
  tscKhz,
  modules,
}: Pick<MachineSpec, 'cpus' | 'tscKhz' | 'modules'>): string[] {
  const parameters = ['mitigations=off'];
  // Calibrating the local APIC's timer takes a tenth of a second or more. The PIT needs no
  // calibration, but ticks for one CPU only, and a kernel with ACPI does not use it.
  if (cpus === 1 && modules === undefined) parameters.push('nolapic_timer');
  // The emulated time stamp counter is the host's.
  if (tscKhz !== undefined) parameters.push(`tsc_early_khz=${tscKhz}`);
  return parameters;
}
