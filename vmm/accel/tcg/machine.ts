// The machine where KVM cannot be used: QEMU emulates CPUs, interrupt controllers and timer, and reaches our devices,
// which live in this process as on KVM, over vhost-user. Memory, kernel and boot state are made here too, by the same
// code as on KVM; QEMU's CPU comes to them from its reset by a firmware of a few instructions.
import { readFileSync, unlinkSync } from 'node:fs';
import {
  baseCommandLine,
  joinCommandLine,
  loadInitramfs,
  loadKernel,
  resetImage,
  writeBootState,
} from '../../boot/index.js';
import { type ChildProcess, FIRST_INHERITED_FD } from '../../host/child-process.js';
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import type { Logger } from '../../host/log.js';
import { AllocatedMemory } from '../../host/memory.js';
import type { MachineError, MachineSpec, MachineStatistics } from '../../machine.js';
import type { VirtioDevice } from '../../virtio/device.js';
import { VhostUserBackend } from '../../virtio/vhost-user/device.js';
import { checkLimits } from '../choose.js';
import {
  hasSocket,
  qemuArguments,
  TIMER_PIN,
  TRANSPORT_BASE,
  TRANSPORT_FIRST_IRQ,
  TRANSPORT_SIZE,
} from './qemu-arguments.js';
import { startQemu } from './qemu-process.js';

/** QEMU counts memory in 8 KiB. */
const MEMORY_UNIT = 8192;
/** Behind ours: the balloon, which is QEMU's own. */
const QEMU_DEVICES = 1;

/** What the machine is placed in. Callbacks come from within the event loop. */
export interface TcgHost {
  loop: EventLoop;
  log: Logger;
  /** QEMU has come to its last device: the guest starts. */
  onStart(): void;
  /** The guest's serial console sent bytes, which are valid during the call alone. */
  writeConsole(bytes: Uint8Array): void;
  /** The guest asked for a reset, and is stopped. */
  onReset(): void;
  /** The guest can't go on. */
  onCrash(error: MachineError): void;
}

/** A machine on QEMU's CPU emulator. Owns what it makes, and `devices`, from the constructor on. */
export class TcgMachine implements Disposable {
  readonly #spec: MachineSpec;
  readonly #host: TcgHost;
  readonly #devices: readonly VirtioDevice[];
  readonly #memory: AllocatedMemory;
  readonly #firmware: number;
  readonly #backends: VhostUserBackend[] = [];
  #qemu: ChildProcess | undefined;

  /**
   * Makes memory and loads the kernel.
   * @throws MachineError `bad-spec` and `bad-kernel`; libc.SystemError when the host refuses.
   */
  constructor(spec: MachineSpec, devices: readonly VirtioDevice[], host: TcgHost) {
    this.#spec = spec;
    this.#host = host;
    this.#devices = devices;
    checkLimits('tcg', devices.length + QEMU_DEVICES);
    this.#memory = AllocatedMemory.allocate(Math.floor(spec.memory / MEMORY_UNIT) * MEMORY_UNIT);
    this.#firmware = createFile('tsvm-firmware', this.#load());
  }

  /** Returns the firmware. */
  #load(): Uint8Array {
    const { spec, memory } = { spec: this.#spec, memory: this.#memory };
    const kernel = loadKernel(memory, spec.kernel);
    const initramfs = loadInitramfs(memory, spec.initramfs, kernel);
    const devices = Array.from({ length: this.#devices.length + QEMU_DEVICES }, (_, index) => ({
      address: TRANSPORT_BASE + index * TRANSPORT_SIZE,
      irq: TRANSPORT_FIRST_IRQ + index,
      length: String(TRANSPORT_SIZE),
    }));
    const base = baseCommandLine({ devices, console: spec.console });
    const commandLine = joinCommandLine([base, ...emulationWords(spec.cpus)].join(' '), spec.commandLine);
    this.#host.log.debug({ commandLine, kernel: kernel.format }, 'boot');
    const { cpus } = spec;
    return resetImage(memory, writeBootState(memory, { kernel, initramfs, commandLine, cpus, timerPin: TIMER_PIN }));
  }

  /** Starts QEMU. @throws MachineError `no-accelerator` when it is not installed, `host`. */
  start(): void {
    const { loop } = this.#host;
    const given = this.#devices.filter((device) => !hasSocket(device));
    const pairs = given.map(() => libc.createSocketPair());
    const inherited = [this.#memory.fd, this.#firmware, ...pairs.map(([, theirs]) => theirs)];
    const netSocket = `${this.#spec.vsock.path}.net`;
    for (const device of this.#devices.filter(hasSocket)) this.#listen(device, netSocket);
    const [memory, firmware, ...fds] = inherited.map((_, index) => FIRST_INHERITED_FD + index);
    const { cpus } = this.#spec;
    const { size } = this.#memory;
    this.#qemu = startQemu({
      args: qemuArguments({
        ...{ cpus, memory: size, devices: this.#devices, netSocket },
        fds: { memory, firmware, devices: this.#devices.map((device) => fds[given.indexOf(device)]) },
      }),
      inherited,
      loop,
      onOutput: (bytes) => this.#host.writeConsole(bytes),
      onEnd: (error) => {
        if (error === undefined) this.#host.onReset();
        else this.#host.onCrash(error);
      },
    });
    given.forEach((device, index) => {
      const [ours, theirs] = pairs[index];
      libc.close(theirs);
      this.#serve(device, ours, index === given.length - 1 ? () => this.#host.onStart() : undefined);
    });
  }

  #serve(device: VirtioDevice, fd: number, onOwned?: () => void): void {
    const { loop, log } = this.#host;
    this.#backends.push(
      new VhostUserBackend(device, fd, {
        loop,
        onOwned,
        onFailure: (reason) => log.warn({ device: device.name }, `the guest broke the device's protocol: ${reason}`),
        onBroken: (reason) => log.warn({ device: device.name }, `QEMU broke the vhost-user protocol: ${reason}`),
      }),
    );
  }

  /** Serves the device to whoever connects first: the folder is the user's alone. */
  #listen(device: VirtioDevice, path: string): void {
    const { loop } = this.#host;
    const address = libc.unixAddress(path);
    const type = libc.SOCK_STREAM | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK;
    const listener = libc.check(libc.socket(libc.AF_UNIX, type, 0), 'socket');
    libc.check(libc.bind(listener, address, address.length), 'bind');
    libc.check(libc.listen(listener, 1), 'listen');
    loop.add(listener, libc.EPOLLIN, () => {
      const connection = libc.accept4(listener, null, null, libc.SOCK_CLOEXEC);
      if (connection < 0) return;
      loop.remove(listener);
      libc.close(listener);
      unlinkSync(path);
      this.#serve(device, connection);
    });
  }

  /** Nothing is counted: the guest's exits are QEMU's. */
  statistics(): MachineStatistics {
    return { exits: {}, ioctls: {}, memory: { resident: this.#memory.resident } };
  }

  /** Kills QEMU and closes all of the machine. */
  [Symbol.dispose](): void {
    this.#qemu?.[Symbol.dispose]();
    for (const backend of this.#backends) backend[Symbol.dispose]();
    for (const device of this.#devices) device[Symbol.dispose]();
    libc.close(this.#firmware);
    this.#memory[Symbol.dispose]();
  }
}

/** What a kernel needs to know of emulated CPUs. */
export function emulationWords(cpus: number): string[] {
  const words = ['mitigations=off'];
  // Calibrating the local APIC's timer takes a tenth of a second and more; the PIT needs none, but ticks for one CPU.
  if (cpus === 1) words.push('nolapic_timer');
  // The emulated time stamp counter is this host's; the kernel derives BogoMIPS from its frequency.
  const bogoMips = /^bogomips\s*:\s*([\d.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1];
  if (bogoMips !== undefined) words.push(`tsc_early_khz=${Math.round(Number(bogoMips) * 500)}`);
  return words;
}

function createFile(name: string, bytes: Uint8Array): number {
  const fd = libc.check(libc.memfd_create(name, libc.MFD_CLOEXEC), 'memfd_create');
  libc.check(libc.write(fd, bytes, bytes.length), 'write');
  return fd;
}
