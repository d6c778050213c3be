// What the machine process does: one VM. Its main thread is the device thread, which blocks in the event loop from the
// first moment on; the owner speaks to it over the control socket. When the owner is gone, so is the machine.
import { chooseAccelerator } from '../accel/choose.js';
import { createDevices } from '../accel/devices.js';
import { KvmMachine } from '../accel/kvm/machine.js';
import type { MachineShared } from '../accel/kvm/vcpu-shared.js';
import type { StartedThread } from '../accel/kvm/vcpu-start.js';
import { VcpuThreads } from '../accel/kvm/vcpu-threads.js';
import type { NetworkHost } from '../accel/network.js';
import { TcgMachine } from '../accel/tcg/machine.js';
import { VirtioNet } from '../devices/net/device.js';
import { EventLoop } from '../host/event-loop.js';
import * as libc from '../host/libc.js';
import { createLogger, type Logger } from '../host/log.js';
import { Kvm } from '../kvm/kvm.js';
import { probeKvm } from '../kvm/probe.js';
import {
  type Accelerator,
  CONTROL_FD,
  MachineError,
  type MachineEvent,
  type MachineRequest,
  type MachineSpec,
  type MachineStatistics,
  type PeerNetwork,
  type ProbeResult,
} from '../machine.js';
import type { VirtioDevice } from '../virtio/device.js';
import { ConsoleTail } from './console-tail.js';
import { ControlSocket } from './control.js';
import { cachedProbe } from './probe-cache.js';
import { checkSpec } from './spec.js';

const STDERR = 2;
/** How often, in milliseconds, to look after vCPU threads that have not started yet. */
const START_POLL = 1000;

/** The process's one machine and its dealings with the owner. Nothing here is ever closed: the process ends. */
class MachineProcess {
  readonly #loop = new EventLoop();
  readonly #threads: VcpuThreads;
  readonly #tail = new ConsoleTail();
  readonly #control: ControlSocket;
  #log: Logger = createLogger('error');
  #kvm: Kvm | MachineError;
  #machine: KvmMachine | TcgMachine | undefined;
  #net: VirtioNet | undefined;
  /** What is left to be said once a vCPU runs. */
  #onStart: ((vcpusStarted: number) => void) | undefined;

  constructor(threads: VcpuThreads) {
    this.#threads = threads;
    this.#control = new ControlSocket(
      CONTROL_FD,
      this.#loop,
      (request) => this.#guard(() => this.#onRequest(request)),
      () => this.#stop('shutdown'),
    );
    this.#kvm = openKvm();
  }

  /** Serves the owner and the guest until the process ends. */
  run(): never {
    for (;;) {
      this.#guard(() => {
        const starting = this.#machine instanceof KvmMachine && !this.#threads.running;
        this.#loop.poll(starting ? START_POLL : -1);
        this.#announceStart();
      });
    }
  }

  #announceStart(): void {
    const onStart = this.#onStart;
    if (onStart === undefined || this.#threads.startTime === undefined) return;
    this.#onStart = undefined;
    onStart(this.#threads.startTime);
  }

  /** Whatever goes wrong ends the machine, and is said. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }

  #onRequest(request: MachineRequest): void {
    switch (request.type) {
      case 'boot':
        if (this.#machine !== undefined) throw new MachineError('bad-spec', 'the machine runs already');
        this.#boot(request.spec);
        break;
      case 'probe':
        this.#end({ type: 'probed', result: this.#probe() });
        break;
      case 'statistics':
        this.#control.send({ type: 'statistics', statistics: this.#statistics() });
        break;
      case 'join':
        this.#control.send({ type: 'joined', error: this.#join(request.network) });
        break;
      case 'leave':
        this.#net?.leave(request.folder);
        break;
      case 'shutdown':
        this.#stop('shutdown');
    }
  }

  #boot(spec: MachineSpec): void {
    const specReceived = now();
    this.#log = createLogger(spec.logLevel);
    checkSpec(spec);
    const { accel, reason } = chooseAccelerator(spec.accel, () => this.#probe(spec.probeCache));
    const booted = (vcpusStarted: number) => {
      const times = { processStarted: performance.timeOrigin, specReceived, vcpusStarted };
      this.#control.send({ type: 'booted', accel, reason, times });
    };
    const host = {
      loop: this.#loop,
      log: this.#log,
      writeConsole: (bytes: Uint8Array) => this.#writeConsole(bytes, spec.console),
      onReset: () => this.#stop('reset'),
      onCrash: (error: MachineError) => this.#fail(error),
    };
    const kvm = this.#kvm;
    if (accel === 'tcg' || kvm instanceof MachineError) {
      const devices = this.#createDevices(spec, 'tcg');
      this.#machine = new TcgMachine(spec, devices, { ...host, onStart: () => booted(now()) });
    } else {
      this.#threads.prepare(spec.cpus);
      const devices = this.#createDevices(spec, 'kvm');
      this.#machine = new KvmMachine(spec, devices, { ...host, kvm, threads: this.#threads });
      this.#onStart = booted;
    }
    this.#machine.start();
  }

  #createDevices(spec: MachineSpec, accel: Accelerator): VirtioDevice[] {
    const devices = createDevices(spec, accel, this.#networkHost(spec));
    this.#net = devices.find((device) => device instanceof VirtioNet);
    return devices;
  }

  /** Why it could not be, or undefined. */
  #join(network: PeerNetwork): string | undefined {
    if (this.#net === undefined) return 'the container has no network';
    try {
      this.#net.join(network);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** A network that does not come up ends the machine, unless it was optional; one that was up is only said to be gone. */
  #networkHost({ network }: MachineSpec): NetworkHost {
    let wasUp = false;
    return {
      loop: this.#loop,
      onNetworkUp: (ports) => {
        wasUp = true;
        this.#control.send({ type: 'network', up: true, ports });
      },
      onNetworkDown: (error) => {
        if (!wasUp && network?.optional === false) this.#fail(error);
        this.#control.send({ type: 'network', up: false, reason: error.message });
      },
      onRefusal: (refusal) => this.#control.send({ type: 'refused', refusal }),
    };
  }

  /** What this host's KVM is good for; kept in the file at `cache` once KVM was tried. */
  #probe(cache?: string): ProbeResult {
    const kvm = this.#kvm;
    if (kvm instanceof MachineError) return { usable: false, code: kvm.code, reason: kvm.message };
    return cachedProbe(cache, () => probeKvm(kvm));
  }

  #writeConsole(bytes: Uint8Array, isShown: boolean): void {
    for (const byte of bytes) this.#tail.push(byte);
    if (isShown) libc.write(STDERR, bytes, bytes.length);
  }

  #statistics(): MachineStatistics {
    const statistics = this.#machine?.statistics() ?? { exits: {}, ioctls: {} };
    return this.#net === undefined ? statistics : { ...statistics, refused: this.#net.refused };
  }

  #stop(reason: 'shutdown' | 'reset'): never {
    if (this.#machine instanceof KvmMachine) this.#threads.stop();
    this.#end({ type: 'stopped', reason, statistics: this.#statistics(), console: this.#tail.toString() });
  }

  #fail(cause: unknown): never {
    const error = toMachineError(cause);
    this.#log.debug({ err: cause }, 'the machine failed');
    this.#end({ type: 'failed', code: error.code, message: error.message, console: this.#tail.toString() });
  }

  /** Ends the process with all its threads; the kernel takes back what they had. */
  #end(event: MachineEvent): never {
    this.#announceStart();
    this.#control.send(event);
    libc._exit(event.type === 'failed' ? 1 : 0);
    throw new Error('_exit returned');
  }
}

function openKvm(): Kvm | MachineError {
  try {
    return Kvm.open();
  } catch (error) {
    return toMachineError(error);
  }
}

function toMachineError(error: unknown): MachineError {
  if (error instanceof MachineError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new MachineError('host', message, { cause: error });
}

/** Milliseconds since the epoch. */
function now(): number {
  return performance.timeOrigin + performance.now();
}

/** The process holds guest memory and runs a stranger's code: no core dump, and no set-uid program starts from here. */
function harden(): void {
  // The control socket tells of the owner's death too, but not to a process that is stopped.
  libc.prctl(libc.PR_SET_PDEATHSIG, libc.SIGKILL, 0, 0, 0);
  libc.setrlimit(libc.RLIMIT_CORE, new BigUint64Array(2));
  libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/** Runs the machine that the owner asks for, its first vCPU on `thread` if KVM is used; the process ends with it. */
export function runMachineProcess(shared: MachineShared, thread: StartedThread | undefined, workerUrl: URL): never {
  harden();
  const threads = new VcpuThreads(workerUrl, shared);
  if (thread !== undefined) threads.adopt(thread);
  return new MachineProcess(threads).run();
}
