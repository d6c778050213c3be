// Runs the one machine of the machine process. The main thread is the device thread: it blocks in
// the event loop from the start. The owner sends requests over the control socket. If the owner is
// gone, the machine ends.
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { chooseAccelerator } from '../accel/choose.js';
import { createMachine, type KvmReserve } from '../accel/create.js';
import type { Saved } from '../accel/kvm/machine.js';
import { START_TIMEOUT } from '../accel/kvm/vcpu-threads.js';
import type { Machine, MachineContext } from '../accel/machine.js';
import type { NetworkContext } from '../accel/network.js';
import { compile, prepareFilters, processProfile, vcpuProfile } from '../accel/system-calls.js';
import type { FuseServer } from '../devices/fs/server.js';
import type { VirtioNet } from '../devices/net/device.js';
import { CAP_SETUID, hasCapability } from '../host/capabilities.js';
import { EventLoop } from '../host/event-loop.js';
import { GivenFiles } from '../host/files.js';
import { fixedArguments } from '../host/fixed-arguments.js';
import { firstKept, keep, keepNoMore } from '../host/kept-descriptors.js';
import * as libc from '../host/libc.js';
import { createLogger, type Logger } from '../host/log.js';
import { keepRandomSource } from '../host/random.js';
import { filterProcess, placeFilter } from '../host/seccomp.js';
import { Timer } from '../host/timer.js';
import { Kvm } from '../kvm/kvm.js';
import { probeKvm } from '../kvm/probe.js';
import {
  backEndName,
  CONTROL_FD,
  countName,
  KVM_FD,
  type LaterShare,
  linkName,
  listenerName,
  MachineError,
  type MachineEvent,
  type MachineRequest,
  type MachineSpec,
  type MachineStatistics,
  type PeerNetwork,
  type ProbeResult,
  publishedName,
  ROUTE_SOCKET,
  SAVED_MEMORY,
  SAVED_STATE,
  shareName,
} from '../machine.js';
import { AskedSockets } from './asked-sockets.js';
import { ConsoleTail } from './console-tail.js';
import { ControlSocket } from './control.js';
import { limitFileSizes } from './file-sizes.js';
import { harden } from './harden.js';
import { readState, writeState } from './state-file.js';

const STDERR = 2;
/** Milliseconds that the host may take to read what the guest has sent, and between two looks at it. */
const UNSENT_PATIENCE = 30_000;
const UNSENT_PAUSE = 10;

/** Serves the process's machine to its owner. Nothing here is ever closed: the process exits. */
class MachineServer {
  readonly #loop = new EventLoop();
  readonly #reserve: KvmReserve;
  readonly #tail = new ConsoleTail();
  readonly #inherited: readonly number[];
  readonly #control: ControlSocket;
  #log: Logger = createLogger('error');
  #machine: Machine | undefined;
  #network: VirtioNet | undefined;
  #server: FuseServer | undefined;
  readonly #files = new GivenFiles((port, done) => this.#sockets.connectToPort(port, done));
  readonly #sockets = new AskedSockets(this.#loop, (asked) => this.#control.send(asked));

  constructor(reserve: KvmReserve, inherited: readonly number[]) {
    this.#reserve = reserve;
    this.#inherited = inherited;
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
      case 'files':
        this.#files.add(request.names, this.#control.takeDescriptors(request.names.length));
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
        this.#network?.leave(request.folder);
        break;
      case 'share':
        this.#control.send({ type: 'shared', ...this.#share(request.shares) });
        break;
      case 'unshare':
        this.#server?.closeShares(request.indexes);
        break;
      case 'save':
        this.#saveWhenSent(performance.now() + UNSENT_PATIENCE);
        break;
      case 'resume':
        // One that could not be saved runs on already.
        if (this.#machine?.state.name === 'paused') this.#machine.resume();
        break;
      case 'companion-ended':
        this.#machine?.companionEnded(request.end);
        break;
      case 'connected':
        this.#sockets.answered(request.answers, (count) => this.#control.takeDescriptors(count));
        break;
      case 'arrived':
        this.#sockets.arrived(request, (count) => this.#control.takeDescriptors(count));
        break;
      case 'shutdown':
        this.#stop('shutdown');
    }
  }

  #boot(spec: MachineSpec): void {
    const specReceived = performance.timeOrigin + performance.now();
    this.#log = createLogger(spec.logLevel);
    const { accel, reason } = chooseAccelerator(spec, () => this.#probeOnce(spec.probe));
    if (accel !== 'kvm') this.#closeKvm();
    if ((spec.shares ?? []).length > 0) this.#keepFiles(accel === 'kvm');
    const context: MachineContext = {
      files: this.#files,
      loop: this.#loop,
      log: this.#log,
      writeConsole: (bytes) => this.#writeConsole(bytes, spec.console),
      onStart: (vcpusStarted) => {
        const times = { processStarted: performance.timeOrigin, specReceived, vcpusStarted };
        this.#control.send({ type: 'booted', accel, ...(reason === undefined ? {} : { reason }), times });
      },
      ...(spec.systemCalls === 'off' ? {} : { confine: () => this.#confine(spec, accel !== 'kvm') }),
      onReset: () => this.#stop('reset'),
      onCrash: (error) => this.#fail(error),
    };
    const shares = (spec.shares ?? []).map((share, index) => ({
      ...share,
      fd: this.#files.take(shareName(index)),
      ...(share.budget === undefined ? {} : { countFd: this.#files.take(countName(index)) }),
    }));
    const created = createMachine({
      spec,
      shares,
      accel,
      reserve: this.#reserve,
      context,
      network: this.#networkContext(spec),
      ...(spec.isSaved ? { saved: this.#takeSaved(spec) } : {}),
    });
    this.#machine = created.machine;
    if (shares.length > 0) keepNoMore(fixedArguments().neutral);
    limitFileSizes(spec);
    this.#network = created.network;
    this.#server = created.server;
    created.machine.start();
    this.#files.closeRest();
  }

  /** Files that are no share's are out of the reach of the file server's calls. */
  #keepFiles(isOnKvm: boolean): void {
    this.#files.keepOpened();
    for (const fd of this.#inherited) keep(fd);
    keepRandomSource();
    const { kvm } = this.#reserve;
    if (isOnKvm && kvm instanceof Kvm) kvm.keep();
  }

  /** @throws MachineError `bad-snapshot`; `bad-spec` if the owner did not send it */
  #takeSaved({ shares = [] }: MachineSpec): Saved {
    const memory = this.#files.take(SAVED_MEMORY);
    return { state: readState(this.#files.take(SAVED_STATE)), memory: shares.length > 0 ? keep(memory) : memory };
  }

  /** Filters the system calls of this process from now on, and places the filter of vCPU threads. */
  #confine({ systemCalls = 'kill', shares = [], network }: MachineSpec, isEmulated: boolean): number {
    if (systemCalls === 'off') return 0;
    // An emulated machine has no use for the thread that was started for KVM, which still loads.
    if (!this.#reserve.started.every(({ shared }) => shared.waitForThread(START_TIMEOUT))) {
      throw new MachineError('host', 'a thread did not start: the host is out of memory or of threads');
    }
    const machine = {
      hasShares: shares.length > 0,
      slot: shares.length > 0 ? fixedArguments().slot : -1,
      firstKept: firstKept(),
      hasBudget: shares.some(({ budget }) => budget !== undefined),
      hasNetwork: network !== undefined,
      hasRelay: network?.backEnd.kind === 'relay',
      canSwitchUser: hasCapability(CAP_SETUID),
      isEmulated,
    };
    const forVcpus = isEmulated ? 0 : placeFilter(compile(vcpuProfile(systemCalls)));
    filterProcess(placeFilter(compile(processProfile(machine, systemCalls))));
    return forVcpus;
  }

  /** Saves the machine once the host has taken what the guest has sent. @param deadline as performance.now() */
  #saveWhenSent(deadline: number): void {
    if (this.#machine?.isUnsent && performance.now() < deadline) {
      new Timer(this.#loop, () => this.#saveWhenSent(deadline)).set(UNSENT_PAUSE);
    } else {
      this.#control.send({ type: 'saved', ...this.#save() });
    }
  }

  /** Pauses the machine and saves it. Returns the reason if that failed, and then the machine runs on. */
  #save(): { error?: string; isDiskFull?: boolean } {
    const [memory, state] = [this.#files.take(SAVED_MEMORY), this.#files.take(SAVED_STATE)];
    const machine = this.#machine;
    try {
      if (machine === undefined) return { error: 'the machine is not booted' };
      if (machine.isUnsent) return { error: 'what the guest has sent is not read' };
      machine.pause();
      writeState(state, machine.save(memory));
      return {};
    } catch (error) {
      if (machine?.state.name === 'paused') machine.resume();
      return { error: messageOf(error), isDiskFull: hasCode(error, 'ENOSPC', 'EDQUOT') };
    } finally {
      for (const fd of [memory, state]) libc.close(fd);
    }
  }

  /** Returns the reason if joining failed. */
  #join(network: PeerNetwork): { error?: string } {
    if (this.#network === undefined) return { error: 'the machine has no network device' };
    try {
      this.#network.join(network);
      return {};
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  /** Returns the index of the first, or the reason if they cannot be served. */
  #share(shares: readonly LaterShare[]): { first?: number; error?: string } {
    const opened = shares.map((share, index) => ({ ...share, fd: this.#files.take(shareName(index)) }));
    try {
      if (this.#server === undefined) throw new MachineError('unsupported', 'the machine has no device for shares');
      return { first: this.#server.addShares(opened) };
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  #networkContext({ network, shares = [] }: MachineSpec): NetworkContext {
    return {
      loop: this.#loop,
      routeSocket: () => this.#files.take(ROUTE_SOCKET),
      tap: (index) => {
        const fd = this.#files.take(backEndName(index));
        return shares.length > 0 ? keep(fd) : fd;
      },
      published: () => {
        const published = network?.backEnd.kind === 'relay' ? network.backEnd.published : undefined;
        return (published ?? []).map((each, index) => ({ ...each, fd: this.#files.take(publishedName(index)) }));
      },
      sockets: this.#sockets,
      networks: {
        enter: ({ folder, found = { members: [], names: [] } }, address) => ({
          listener: this.#files.take(listenerName(join(folder, address))),
          links: new Map(found.members.map((member) => [member, this.#files.take(linkName(folder, member))])),
          names: found.names,
        }),
        // The owner removes the guest from the folder.
        leave: () => {},
      },
      onNetworkUp: () => this.#control.send({ type: 'network' }),
      onRefusal: (refusal) => this.#control.send({ type: 'refused', refusal }),
    };
  }

  /** Probes this host's KVM. */
  #probe(): ProbeResult {
    const { kvm } = this.#reserve;
    if (kvm instanceof MachineError) return { usable: false, code: kvm.code, reason: kvm.message };
    return probeKvm(kvm);
  }

  /** The owner remembers the result, unless KVM cannot be opened: that may change. */
  #probeOnce(earlier: ProbeResult | undefined): ProbeResult {
    if (this.#reserve.kvm instanceof MachineError) return this.#probe();
    if (earlier !== undefined) return earlier;
    const result = this.#probe();
    this.#control.send({ type: 'kvm', result });
    return result;
  }

  #closeKvm(): void {
    const { kvm } = this.#reserve;
    if (!(kvm instanceof MachineError)) kvm[Symbol.dispose]();
  }

  #writeConsole(bytes: Uint8Array, isShown: boolean): void {
    for (const byte of bytes) this.#tail.push(byte);
    if (isShown) libc.write(STDERR, bytes, bytes.length);
  }

  #statistics(): MachineStatistics {
    const statistics = this.#machine?.statistics() ?? { exits: {}, ioctls: {} };
    return this.#network === undefined ? statistics : { ...statistics, refused: this.#network.refused };
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

function openKvm(fd: number): Kvm | MachineError {
  try {
    return Kvm.opened(fd);
  } catch (error) {
    return toMachineError(error);
  }
}

function toMachineError(error: unknown): MachineError {
  if (error instanceof MachineError) return error;
  return new MachineError('host', messageOf(error), { cause: error });
}

/**
 * Runs the machine that the owner asks for. Never returns: the process exits with the machine.
 * @param kvmFd of /dev/kvm, or the negative errno with which the owner could not open it
 * @param inherited the files that the process was started with
 */
export function serveMachine(reserve: Omit<KvmReserve, 'kvm'>, kvmFd: number, inherited: readonly number[]): never {
  harden();
  // /dev/null in its place.
  if (kvmFd < 0) libc.close(KVM_FD);
  const server = new MachineServer({ ...reserve, kvm: openKvm(kvmFd) }, inherited);
  if (reserve.started.length > 0) prepareFilters();
  return server.run();
}
