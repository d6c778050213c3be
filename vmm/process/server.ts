// Runs the one machine of the machine process. The main thread is the device thread: it blocks in
// the event loop from the start. The owner sends requests over the control socket. If the owner is
// gone, the machine ends.
import { messageOf } from '../../errors/index.js';
import { chooseAccelerator } from '../accel/choose.js';
import { createMachine, type KvmReserve } from '../accel/create.js';
import type { Machine, MachineContext } from '../accel/machine.js';
import type { NetworkContext } from '../accel/network.js';
import type { OpenShare } from '../devices/fs/server.js';
import type { VirtioNet } from '../devices/net/device.js';
import { EventLoop } from '../host/event-loop.js';
import * as libc from '../host/libc.js';
import { createLogger, type Logger } from '../host/log.js';
import { Kvm } from '../kvm/kvm.js';
import { probeKvm } from '../kvm/probe.js';
import {
  CONTROL_FD,
  MachineError,
  type MachineEvent,
  type MachineRequest,
  type MachineSpec,
  type MachineStatistics,
  type PeerNetwork,
  type ProbeResult,
  type ShareSpec,
} from '../machine.js';
import { ConsoleTail } from './console-tail.js';
import { ControlSocket } from './control.js';
import { cachedProbe } from './probe-cache.js';
import { checkSpec } from './spec.js';

const STDERR = 2;

/** Serves the process's machine to its owner. Nothing here is ever closed: the process exits. */
class MachineServer {
  readonly #loop = new EventLoop();
  readonly #reserve: KvmReserve;
  readonly #tail = new ConsoleTail();
  readonly #control: ControlSocket;
  #log: Logger = createLogger('error');
  #machine: Machine | undefined;
  #net: VirtioNet | undefined;

  constructor(reserve: KvmReserve) {
    this.#reserve = reserve;
    this.#control = new ControlSocket(
      CONTROL_FD,
      this.#loop,
      (request) => this.#guard(() => this.#onRequest(request)),
      () => this.#stop('shutdown'),
    );
  }

  /** Serves the owner and the guest until the process exits. */
  run(): never {
    for (;;) this.#guard(() => this.#loop.run());
  }

  /** Any error ends the machine, and is reported to the owner. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }

  #onRequest(request: MachineRequest): void {
    switch (request.type) {
      case 'descriptors':
        // The control socket keeps them until the machine boots.
        break;
      case 'boot':
        if (this.#machine !== undefined) throw new MachineError('bad-state', 'the machine is booted already');
        this.#boot(request.spec);
        break;
      case 'probe':
        this.#end({ type: 'probed', result: this.#probe() });
        break;
      case 'statistics':
        this.#control.send({ type: 'statistics', statistics: this.#statistics() });
        break;
      case 'join':
        this.#control.send({ type: 'joined', ...this.#join(request.network) });
        break;
      case 'leave':
        this.#net?.leave(request.folder);
        break;
      case 'shutdown':
        this.#stop('shutdown');
    }
  }

  #boot(spec: MachineSpec): void {
    const specReceived = performance.timeOrigin + performance.now();
    this.#log = createLogger(spec.logLevel);
    checkSpec(spec);
    const { accel, reason } = chooseAccelerator(spec.accel, () => this.#probe(spec.probeCache));
    const context: MachineContext = {
      loop: this.#loop,
      log: this.#log,
      writeConsole: (bytes) => this.#writeConsole(bytes, spec.console),
      onStart: (vcpusStarted) => {
        const times = { processStarted: performance.timeOrigin, specReceived, vcpusStarted };
        this.#control.send({ type: 'booted', accel, ...(reason === undefined ? {} : { reason }), times });
      },
      onReset: () => this.#stop('reset'),
      onCrash: (error) => this.#fail(error),
    };
    const network = this.#networkContext(spec);
    const shares = openShares(spec.shares ?? [], this.#control.takeDescriptors());
    const { machine, net } = createMachine({ spec, shares, accel, reserve: this.#reserve, context, network });
    this.#machine = machine;
    this.#net = net;
    machine.start();
  }

  /** Returns the reason if joining failed. */
  #join(network: PeerNetwork): { error?: string } {
    if (this.#net === undefined) return { error: 'the machine has no network device' };
    try {
      this.#net.join(network);
      return {};
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  /**
   * A network that does not come up ends the machine, unless it is optional. The loss of a network
   * that was up is only reported.
   */
  #networkContext({ network }: MachineSpec): NetworkContext {
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

  /**
   * Probes this host's KVM. The result is cached in the file at `cache` once KVM could be opened.
   */
  #probe(cache?: string): ProbeResult {
    const { kvm } = this.#reserve;
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
    this.#machine?.stop();
    this.#end({ type: 'stopped', reason, statistics: this.#statistics(), console: this.#tail.toString() });
  }

  #fail(cause: unknown): never {
    const error = toMachineError(cause);
    this.#log.debug({ err: cause }, 'the machine failed');
    this.#end({ type: 'failed', code: error.code, message: error.message, console: this.#tail.toString() });
  }

  /** Exits the process with all its threads. The kernel reclaims what they had. */
  #end(event: MachineEvent): never {
    this.#control.send(event);
    libc._exit(event.type === 'failed' ? 1 : 0);
    throw new Error('_exit returned');
  }
}

/** @throws MachineError `bad-spec` if there is not one open file for each share */
function openShares(specs: readonly ShareSpec[], descriptors: readonly number[]): OpenShare[] {
  if (specs.length !== descriptors.length) {
    throw new MachineError('bad-spec', `${descriptors.length} open files came for ${specs.length} shares`);
  }
  return specs.flatMap((spec, index) => {
    const fd = descriptors[index];
    return fd === undefined ? [] : [{ ...spec, fd }];
  });
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
  return new MachineError('host', messageOf(error), { cause: error });
}

/**
 * Limits a process that holds guest memory and runs hostile code: no core dump, and no set-uid
 * program can be started.
 */
function harden(): void {
  // The control socket reports the owner's death too, but not to a process that is stopped.
  libc.prctl(libc.PR_SET_PDEATHSIG, libc.SIGKILL, 0, 0, 0);
  libc.setrlimit(libc.RLIMIT_CORE, new BigUint64Array(2));
  libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/** Runs the machine that the owner asks for. Never returns: the process exits with the machine. */
export function serveMachine(reserve: Omit<KvmReserve, 'kvm'>): never {
  harden();
  return new MachineServer({ ...reserve, kvm: openKvm() }).run();
}
