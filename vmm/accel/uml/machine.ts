// The machine without KVM whose guest runs at the host's speed: User-Mode Linux, a kernel that is a
// process of the host. Its programs run on the host's processor, and it catches their system calls.
// Our devices live in this process, and the kernel's virtio driver reaches them over vhost-user.
// Memory is a file of the kernel's own, which it shares with the devices.
import { Companion } from '../../host/companion.js';
import * as libc from '../../host/libc.js';
import {
  COMPANION_CONSOLE,
  COMPANION_START,
  type CompanionEnd,
  MachineError,
  type MachineSpec,
  type MachineStatistics,
  umlSocket,
} from '../../machine.js';
import type { VirtioDevice } from '../../virtio/device.js';
import { VhostUserBackend } from '../../virtio/vhost-user/device.js';
import { checkLimits } from '../choose.js';
import { Lifecycle, type Machine, type MachineContext, type MachineState } from '../machine.js';
import type { SavedMachine } from '../saved-machine.js';
import { checkUmlKernel } from './kernel.js';

/** The end of a kernel that panicked: SIGABRT, and the exit code of one that may not send it. */
const ABORTED = ['signal 6', 'exit code 127'];

/** A machine on User-Mode Linux. Owns its devices and everything that it creates. */
export class UmlMachine implements Machine {
  readonly #spec: MachineSpec;
  readonly #context: MachineContext;
  readonly #lifecycle = new Lifecycle();
  readonly #devices: readonly VirtioDevice[];
  readonly #backends: VhostUserBackend[] = [];
  readonly #kernel: Companion;
  #listener: number | undefined;

  /** @throws MachineError `bad-spec`, `bad-kernel` */
  constructor(spec: MachineSpec, devices: readonly VirtioDevice[], context: MachineContext) {
    this.#spec = spec;
    this.#context = context;
    this.#devices = devices;
    if (spec.cpus !== 1) throw new MachineError('bad-spec', `a machine on uml has one CPU, not ${spec.cpus}`);
    checkLimits('uml', devices.length);
    const { files, loop } = context;
    checkUmlKernel(spec.kernel, files);
    this.#kernel = new Companion(loop, {
      start: files.take(COMPANION_START),
      outputs: new Map([[files.take(COMPANION_CONSOLE), (bytes) => context.writeConsole(bytes)]]),
    });
  }

  get state(): MachineState {
    return this.#lifecycle.state;
  }

  /** Lets the kernel run. @throws MachineError `bad-spec` if the owner has not sent the socket */
  start(): void {
    this.#lifecycle.require('start', 'built');
    this.#lifecycle.become({ name: 'starting' });
    const type = libc.SOCK_STREAM | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK;
    this.#listen(this.#context.files.listen(umlSocket(this.#spec.vsock.path), type, this.#devices.length));
    this.#kernel.start();
    this.#context.confine?.();
  }

  /** Serves the devices to the kernel, which connects for one after the other. */
  #listen(listener: number): void {
    const { loop } = this.#context;
    this.#listener = listener;
    loop.add(listener, libc.EPOLLIN, () => {
      const connection = libc.accept4(listener, null, null, libc.SOCK_CLOEXEC);
      if (connection < 0) return;
      const device = this.#devices[this.#backends.length];
      if (device === undefined) libc.close(connection);
      else this.#serve(device, connection);
      if (this.#backends.length === this.#devices.length) this.#closeListener();
    });
  }

  #closeListener(): void {
    if (this.#listener === undefined) return;
    this.#context.loop.remove(this.#listener);
    libc.close(this.#listener);
    this.#listener = undefined;
  }

  #serve(device: VirtioDevice, fd: number): void {
    const { loop, log } = this.#context;
    this.#onStart();
    this.#backends.push(
      new VhostUserBackend(device, fd, {
        loop,
        hasBackendRequests: true,
        repeatsCalls: true,
        onFailure: (reason) => log.warn({ device: device.name }, `the guest broke the device's protocol: ${reason}`),
        onBroken: (reason) => log.warn({ device: device.name }, `the kernel broke the vhost-user protocol: ${reason}`),
      }),
    );
  }

  /** The kernel runs: it connects to its first device. */
  #onStart(): void {
    if (this.state.name !== 'starting') return;
    const startTime = performance.timeOrigin + performance.now();
    this.#lifecycle.become({ name: 'running', startTime });
    this.#context.onStart(startTime);
  }

  /** The kernel ended by itself: by a reset, by a panic, which aborts it, or by the host's doing. */
  companionEnded(end: CompanionEnd): void {
    if (this.state.name === 'stopped') return;
    this.#kernel.drain();
    const { exitCode, outcome, said } = end;
    if (exitCode === 0 || ABORTED.includes(outcome)) {
      this.#lifecycle.become({ name: 'stopped' });
      this.#context.onReset();
      return;
    }
    const error = new MachineError('host', `User-Mode Linux ended (${outcome})${said === '' ? '' : `: ${said}`}`);
    this.#lifecycle.become({ name: 'crashed', error });
    this.#context.onCrash(error);
  }

  /** @throws MachineError `unsupported`, always: its programs' processes would see the signal that stops it */
  pause(): void {
    throw new MachineError('unsupported', 'a machine on uml cannot be paused');
  }

  /** @throws MachineError `unsupported`, always */
  resume(): void {
    this.pause();
  }

  /** Lets go of the kernel, which the owner kills when this process ends. */
  stop(): void {
    this.#closeListener();
    this.#kernel[Symbol.dispose]();
    for (const backend of this.#backends) backend[Symbol.dispose]();
    this.#lifecycle.become({ name: 'stopped' });
  }

  /** It is not saved. */
  readonly isUnsent = false;

  /** @throws MachineError `unsupported`, always: a process has no state that could be written down */
  save(): SavedMachine {
    throw new MachineError('unsupported', 'a machine on uml cannot be saved: use --accel kvm');
  }

  /** Exits and ioctls are not counted: there are none. */
  statistics(): MachineStatistics {
    return { exits: {}, ioctls: {}, memory: { resident: this.#backends[0]?.residentMemory ?? 0 } };
  }

  [Symbol.dispose](): void {
    this.stop();
    for (const device of this.#devices) device[Symbol.dispose]();
  }
}
