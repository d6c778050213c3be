// One life of a container, from its configuration to its exit status. The machine process starts
// first since it takes longest; the run prepares everything else meanwhile.
import { statSync } from 'node:fs';
import { messageOf } from '../../errors/index.js';
import type { Accelerator, MachineSpec, MachineStatistics, PeerNetwork, PublishedPorts } from '../../vmm/machine.js';
import { type ContainerIo, ProcessIo } from '../agent/process-io.js';
import type { BpfInstruction, ExitedFrame, ProcessSpec, TerminalSize } from '../agent/protocol.js';
import { REQUEST_TIMEOUT } from '../agent/responsiveness.js';
import { START_TIMEOUT, type Thaw } from '../agent/session.js';
import { defer } from '../deferred.js';
import { defined } from '../defined.js';
import { SandboxError } from '../errors.js';
import type { ContainerConfig } from '../home/container-record.js';
import { roomForDisk } from '../home/home-size.js';
import { explainIsolation } from '../isolation.js';
import type { JailReport } from '../jail-report.js';
import { type Log, SILENT } from '../log.js';
import { copyDisk } from '../machine/copy-disk.js';
import { MachineClient } from '../machine/machine-client.js';
import {
  checkProgram,
  type ProgramIdentity,
  programIdentity,
  type SavedContainer,
  SavedMachine,
  type UnfinishedMachine,
} from '../machine/saved-machine.js';
import { randomNumber } from '../random-number.js';
import { processLimits, seccompFilter } from '../spec/limits.js';
import { mergeEnvironment } from '../spec/process-spec.js';
import type { RunSpec } from '../spec/run-spec.js';
import { type Boot, bootMachine } from './boot.js';
import type { GuestContainer, GuestProcess } from './guest-container.js';
import { GuestMachine, saveTimeout } from './guest-machine.js';
import type { NetworkPlan } from './network-plan.js';
import { ResourceStack } from './resource-stack.js';
import type { ExitStatus, RunOptions } from './run-options.js';
import { type StartRequests, startRequests } from './start-request.js';
import { cloned, continued } from './thaw.js';
import { Trace } from './trace.js';

/**
 * Milliseconds to SIGKILL from the SIGTERM after a timeout, and from the end of the output's
 * reader.
 */
const KILL_GRACE = 2_000;
/** Bytes of console and log that wait for their reader, after which more is dropped. */
const MAX_UNWRITTEN = 1024 * 1024;

const SIGPIPE = 13;
const SIGKILL = 9;
const SIGTERM = 15;

/** A process that `exec` started. */
export interface StartedProcess {
  /** Process id in the guest's outermost pid namespace. */
  pid: number;
  /** Rejects if the machine ends before the process. */
  exited: Promise<ExitedFrame>;
  signal(signal: number): void;
  /** Kills it, with what it has started and what has not left its process group. */
  killGroup(): void;
  resize(size: TerminalSize): void;
}

type ContainerState =
  /** The process has not started. */
  | { name: 'starting' }
  /** The first process runs, or has exited and its last output is being read. */
  | {
      name: 'running';
      container: GuestContainer;
      process: GuestProcess;
      seccomp: readonly BpfInstruction[] | undefined;
    }
  /** The process has exited, and the guest syncs its disk. */
  | { name: 'stopping' }
  /** The run is over and its resources are released. */
  | { name: 'ended' };

/** Why the run ended the process. */
type Ending =
  /** The process ran longer than `timeout`. */
  | 'timeout'
  /** The reader of the output is gone. */
  | 'broken-pipe';

/** A container that runs or starts. */
export class ContainerRun {
  /** Resolves when the process runs. Never rejects: see `exit`. */
  readonly started: Promise<void>;
  /**
   * Resolves when the process has exited and its output is written to the caller's streams. Rejects
   * with a SandboxError, ImageError or MachineError if the process could not be started or was
   * lost.
   */
  readonly exit: Promise<ExitStatus>;
  readonly #trace: Trace;
  readonly #log: Log;
  #machine: GuestMachine;
  readonly #timers = new ResourceStack();
  readonly #io: ProcessIo;
  readonly #started = defer<void>();
  readonly #aborted = defer<never>();
  readonly #suspended = defer<'suspended'>();
  #spec: MachineSpec | undefined;
  #makeTemplate: Boot['makeMissing'];
  /** Of the machine. Undefined before its boot. */
  #program: ProgramIdentity | undefined;
  /** When the time limit ends, as performance.now(). */
  #limit: number | undefined;
  #state: ContainerState = { name: 'starting' };
  #ending: Ending | undefined;
  #address: string | undefined;
  #ports: PublishedPorts[] = [];

  constructor(
    private readonly config: ContainerConfig,
    private readonly io: ContainerIo,
    private readonly options: RunOptions,
  ) {
    this.#trace = options.trace ?? new Trace();
    this.#log = options.log ?? SILENT;
    this.#machine = this.#guestMachine(options.machine ?? new MachineClient());
    this.#io = new ProcessIo(io, {
      onFirstOutput: () => this.#trace.mark('firstOutput'),
      onBrokenPipe: () => this.#endUnread(),
      onWriteError: (cause) =>
        this.abort(new SandboxError('state', `cannot write the output: ${cause.message}`, { cause })),
    });
    this.started = this.#started.promise;
    this.exit = this.#run();
  }

  #guestMachine(client: MachineClient): GuestMachine {
    const { config, io, options } = this;
    if (config.spec.console || options.machineLog !== 'silent') {
      // A guest may write to its console without an end, and its reader may be slow.
      client.onStderr = (text) => io.stderr.writableLength < MAX_UNWRITTEN && io.stderr.write(text);
    }
    const machine = new GuestMachine(client, { trace: this.#trace, log: this.#log });
    machine.responsiveness.onChange = (suspect) => options.onSuspect?.(suspect);
    return machine;
  }

  /** Number of output chunks that the process has written. */
  get outputChunks(): number {
    return this.#io.outputChunks;
  }

  /** Process id of the machine process; undefined before it is known. */
  get pid(): number | undefined {
    return this.#machine.pid;
  }

  /** Process id of the leader of its process group; undefined if it could not be started. */
  get machinePid(): number | undefined {
    return this.#machine.groupPid;
  }

  /** What the machine is jailed by, once it was told to boot. Undefined: nothing. */
  get jail(): JailReport | undefined {
    return this.#machine.jail;
  }

  /** What runs the guest. Undefined before it runs. */
  get accelerator(): Accelerator | undefined {
    return this.#machine.accelerator;
  }

  /** Why that is not KVM, if no machine was asked for. */
  get acceleratorReason(): string | undefined {
    return this.#machine.acceleratorReason;
  }

  /** Process id of QEMU's launcher; undefined while there is none. */
  get companionPid(): number | undefined {
    return this.#machine.companionPid;
  }

  /** The process groups of the machine: of its process, and of its companion. */
  get processGroups(): number[] {
    return [this.machinePid, this.companionPid].filter((pid) => pid !== undefined);
  }

  /**
   * The container's IPv4 address. Undefined without a network, and before the network is planned.
   */
  get address(): string | undefined {
    return this.#address;
  }

  /** The published ports, with their addresses on the host. */
  get ports(): readonly PublishedPorts[] {
    return this.#ports;
  }

  /** True while the guest has let the deadline of a request pass. */
  get isSuspect(): boolean {
    return this.#machine.responsiveness.isSuspect;
  }

  /** Stops the deadlines of the guest's answers while it is paused. */
  hold(isPaused: boolean): void {
    this.#machine.responsiveness.hold(isPaused);
  }

  /** Sends a signal, 1 to 64, to the process. Ignored unless the process runs. */
  signal(signal: number): void {
    if (this.#state.name === 'running') this.#state.process.signal(signal);
  }

  /** Sets the size of the process's terminal. Ignored unless the process runs. */
  resize(size: TerminalSize): void {
    if (this.#state.name === 'running') this.#state.process.resize(size);
  }

  /**
   * Starts a further process. Its streams arrive at the port that its spec names.
   * @param takeStreams called with a process without a port, for its streams. They may arrive after its
   *   end, and are expected until the returned promise resolves. Default: discards them
   * @throws SandboxError `not-running`, `not-found`, `cannot-invoke`, `unresponsive` or `agent`
   */
  async exec(
    described: ProcessSpec,
    takeStreams: (process: GuestProcess) => void | Promise<void> = (process) => process.discardOutput(),
  ): Promise<StartedProcess> {
    const { container, seccomp } = this.#running();
    const limits = processLimits(this.config.spec);
    const capabilities = described.capabilities ?? limits.capabilities;
    const env = described.tool ? described.env : mergeEnvironment(described.env ?? [], this.options.secrets?.env);
    const process = container.start({ ...described, env, ...limits, capabilities, seccomp });
    const taken = described.port === undefined ? takeStreams(process) : undefined;
    const pid = await process.started();
    const exited = process.exited();
    Promise.all([exited, taken]).then(
      () => process.forget(),
      () => {},
    );
    return {
      pid,
      exited,
      signal: (signal) => process.signal(signal),
      killGroup: () => process.killGroup(),
      resize: (size) => process.resize(size),
    };
  }

  /** Joins a private network. @throws SandboxError `not-running`, `network` */
  async joinNetwork(network: PeerNetwork): Promise<void> {
    this.#running();
    await this.#machine.joinNetwork(network);
  }

  /**
   * Leaves the private network whose members meet in `folder`.
   * @throws SandboxError `not-running`
   */
  leaveNetwork(folder: string): void {
    this.#running();
    this.#machine.leaveNetwork(folder);
  }

  /** The machine's statistics so far. @throws SandboxError `not-running` */
  statistics(): Promise<MachineStatistics> {
    return this.#machine.statistics();
  }

  /**
   * Saves the machine, and ends it: `exit` rejects with SandboxError `suspended`. If that fails, the
   * container runs on; if it cannot, it has ended.
   * @throws SandboxError `not-running`, `no-space`, `agent`, `unresponsive`, `snapshot`, `state`: it
   *   runs on; `machine-died`; what ended the machine
   */
  async suspend(unfinished: UnfinishedMachine): Promise<void> {
    const { spec, room } = await this.#freeze(0);
    try {
      await this.#save(unfinished, spec, room);
      await unfinished.keep(spec, this.#saved(), this.options.layer?.path);
    } catch (error) {
      await this.#machine.runOn(error);
      throw error;
    }
    this.#suspended.resolve('suspended');
  }

  /**
   * Saves the machine with a copy of its writable disk. The container runs on, whether or not that
   * succeeds: only a guest that cannot be thawed ends.
   * @param layer path of the copy, which does not exist
   * @throws SandboxError as `suspend`
   */
  async snapshot(unfinished: UnfinishedMachine, layer: string): Promise<void> {
    const disk = this.options.layer?.path;
    const used = disk === undefined ? 0 : statSync(disk).blocks * 512;
    const { spec, room } = await this.#freeze(used);
    let container: SavedContainer;
    try {
      container = this.#saved();
      await this.#save(unfinished, spec, room - used);
      if (disk !== undefined) await copyDisk(disk, layer);
    } catch (error) {
      await this.#machine.runOn(error);
      throw error;
    }
    await this.#machine.runOn();
    // The machine process still has the files that it wrote.
    await unfinished.replaceFiles();
    await unfinished.keep(spec, container, disk && layer);
  }

  /**
   * Checks all of a snapshot's saved machine that could continue in place of this one.
   * @throws SandboxError `not-running`, `snapshot`
   */
  async verify(saved: string): Promise<void> {
    if (this.#spec === undefined) throw new SandboxError('not-running', 'the container is not running');
    const { files } = await SavedMachine.open(saved, this.#spec, true);
    files[Symbol.dispose]();
  }

  /**
   * Freezes the machine for a copy.
   * @param disk bytes that a copy of its disk takes
   * @returns the machine, and the bytes that the home has room for
   */
  async #freeze(disk: number): Promise<{ spec: MachineSpec; room: number }> {
    this.#running();
    const machine = this.#machine;
    const spec = this.#spec;
    if (spec === undefined || this.#program === undefined) {
      throw new SandboxError('not-running', 'the container is not running');
    }
    checkProgram(this.#program);
    const room = await roomForDisk(this.options.home);
    // Of memory that was restored, all may be written.
    checkRoom(disk + ((await machine.statistics()).memory?.resident ?? spec.memory), room);
    await machine.freeze();
    return { spec, room };
  }

  async #save(unfinished: UnfinishedMachine, spec: MachineSpec, room: number): Promise<void> {
    await this.#machine.save(unfinished.files(spec.memory), saveTimeout(spec.memory));
    // A machine process that a guest has taken over says that it has no memory.
    checkRoom(unfinished.written, room);
  }

  #saved(): SavedContainer {
    const { process } = this.#running();
    const left = this.#limit === undefined ? null : Math.max(0, Math.round(this.#limit - performance.now()));
    return { process: process.id, timeLeft: left };
  }

  /** Kills the machine with everything in it. `exit` rejects with `error`. */
  abort(error: Error): void {
    this.#aborted.reject(error);
  }

  /**
   * Kills the process. If it still runs after the time that the guest has for a request, or the
   * guest is suspect, kills the machine. On a busy host the end of a process takes seconds, and a
   * machine that is killed loses what the guest has not written to its disk. A guest that syncs its
   * disk after the exit has its own deadline.
   */
  kill(): void {
    this.signal(SIGKILL);
    const why = 'the process did not exit after SIGKILL: its machine was killed';
    const killMachine = () => {
      if (this.#state.name !== 'stopping') this.abort(new SandboxError('agent', why));
    };
    if (this.isSuspect) killMachine();
    else this.#timers.after(REQUEST_TIMEOUT, killMachine);
  }

  /** @throws SandboxError `not-running` */
  #running(): Extract<ContainerState, { name: 'running' }> {
    if (this.#state.name === 'running') return this.#state;
    throw new SandboxError('not-running', 'the container is not running');
  }

  async #run(): Promise<ExitStatus> {
    try {
      return await Promise.race([this.#live(), this.#aborted.promise]);
    } finally {
      this.#state = { name: 'ended' };
      this.#timers[Symbol.dispose]();
      await this.#machine.end();
      this.#trace.mark('done');
      this.#trace.write();
      this.#log.debug('run ended', { phases: this.#trace.phases, statistics: this.#trace.statistics });
    }
  }

  /** From the boot of the machine to the exit of the process. */
  async #live(): Promise<ExitStatus> {
    const { config, options } = this;
    const { spec } = config;
    const { boot, kernel } = await this.#boot(spec);
    const machine = this.#machine;
    this.#address = boot.network?.address;
    this.#spec = boot.spec;
    this.#makeTemplate = boot.makeMissing;
    const parts = {
      ...boot,
      seccomp: seccompFilter(spec, kernel),
      network: boot.network && (await this.#online(boot.network)),
    };
    const { process, output } =
      boot.saved === undefined ? await this.#start(parts) : await this.#continue(parts, boot.saved);
    const exited = await Promise.race([process.exited(), this.#suspended.promise]);
    if (exited === 'suspended') return this.#endSuspended(output);
    this.#trace.mark('exited');
    await Promise.race([output, this.#io.stalled((timer) => this.#timers.add(timer))]);
    // A machine that died has closed its streams too: the output may be incomplete.
    if (!(await machine.isAlive())) await machine.lost;
    if (options.layer !== undefined) {
      this.#state = { name: 'stopping' };
      // Without its agent the guest cannot write its disk out. The exit status is known all the
      // same.
      if (machine.state.name === 'ready') await machine.shutdown(saveTimeout(boot.spec.memory));
    }
    return this.#status(exited);
  }

  /** Boots the machine, or restores it from a template. Resolves when its agent takes requests. */
  async #boot(spec: RunSpec): Promise<{ boot: Boot; kernel: string }> {
    const machine = this.#machine;
    const boot = await bootMachine(machine, spec, this.options, { trace: this.#trace, log: this.#log });
    // The guest boots meanwhile.
    this.#program = programIdentity();
    try {
      const kernel = await machine.hello();
      if (boot.template !== undefined) await machine.thaw(cloned([]));
      return { boot, kernel };
    } catch (error) {
      if (boot.template === undefined || this.#isOver()) throw explainIsolation(error, spec.isolation);
      boot.template.discard(messageOf(error));
      this.#log.warn(`the container starts cold, its template cannot be used: ${messageOf(error)}`);
    }
    // Nothing of the container has run.
    await machine.end();
    if (this.#isOver()) throw new SandboxError('not-running', 'the machine was stopped');
    this.#machine = this.#guestMachine(new MachineClient());
    return this.#boot({ ...spec, cold: true });
  }

  #isOver(): boolean {
    return this.#state.name === 'ended';
  }

  /** Continues the container of a restored machine. Does not wait for the end of the output. */
  async #continue(parts: StartParts, saved: SavedMachine): Promise<Started> {
    const { process: id, timeLeft } = saved.container;
    const machine = this.#machine;
    const running = await machine.running();
    const first = running.find(({ process }) => process === id);
    if (first === undefined) throw new SandboxError('snapshot', 'the process of the saved container is gone');
    const container = machine.container(first.container);
    const process = container.adopt(this.#requests(parts, id).process, first.pid);
    const output = this.#connect(process);
    if (saved.isClone) {
      await machine.thaw(this.#cloned(parts, new Set(running.map(({ container }) => container))));
    } else {
      saved.remove();
      await machine.thaw(continued());
    }
    // A limit that has passed ends the process at once.
    this.#begin({ container, process, seccomp: parts.seccomp }, timeLeft === null ? undefined : Math.max(1, timeLeft));
    return { process, output };
  }

  /** What makes the containers of a clone others than those that were saved. */
  #cloned(parts: StartParts, containers: ReadonlySet<number>): Thaw {
    const { network } = parts;
    // A clone whose network failed has its original's addresses.
    if (this.#spec?.network !== undefined && network === undefined) {
      throw new SandboxError('network', 'a clone does not run without its network');
    }
    const { hostname, hosts, resolvConf } = this.#requests(parts, 1).container;
    return cloned(
      [...containers].map((container) => ({ container, hostname, hosts, resolvConf })),
      network && { ...network.guest, mac: network.machine.mac },
    );
  }

  /** Ends a machine that is saved, and waits for the last of its output. */
  async #endSuspended(output: Promise<unknown>): Promise<never> {
    this.#state = { name: 'stopping' };
    await this.#machine.endSaved();
    await Promise.race([output, this.#io.stalled((timer) => this.#timers.add(timer))]);
    throw new SandboxError('suspended', 'the container was suspended');
  }

  /** Makes the container and starts its process. Does not wait for the end of the output. */
  async #start(parts: StartParts): Promise<Started> {
    const requests = this.#requests(parts, randomNumber(1, 2 ** 32));
    const { seccomp } = parts;
    this.#machine.setUp(requests.machine);
    const container = this.#machine.createContainer(requests.container);
    const process = container.start({ ...requests.process, seccomp }, { timeout: START_TIMEOUT });
    const output = this.#connect(process);
    await process.started();
    this.#begin({ container, process, seccomp }, this.config.spec.timeout);
    return { process, output };
  }

  #requests({ layer, shares, network }: StartParts, process: number): StartRequests {
    const { noCommand, secrets } = this.options;
    const { terminalSize } = this.io;
    return startRequests(this.config, { process, layer, shares, network, noCommand, secrets, terminalSize });
  }

  /** Connects the streams of the first process. Resolves when its output has ended. */
  #connect(process: GuestProcess): Promise<void> {
    const { terminal = false, stdin = false } = this.options.noCommand ? {} : this.config.spec;
    return this.#io.connect((name) => process.stream(name), { terminal, stdin });
  }

  /** @param timeout milliseconds until the process is ended; undefined or 0: none */
  #begin(running: Omit<Extract<ContainerState, { name: 'running' }>, 'name'>, timeout: number | undefined): void {
    this.#trace.mark('processStarted');
    if (this.#trace.wanted) this.#countStart();
    this.#state = { name: 'running', ...running };
    // Before the supervisor enters its cgroup: what it has started there ends with it.
    if (!this.options.noCommand) this.#makeTemplate?.(this.#machine.accelerator);
    this.#started.resolve();
    if (!timeout || this.options.noCommand) return;
    this.#limit = performance.now() + timeout;
    this.#timers.after(timeout, () => this.#timeOut());
  }

  #countStart(): void {
    this.#machine.statistics().then(
      (statistics) => {
        this.#trace.statistics = statistics;
      },
      () => {},
    );
  }

  /**
   * Resolves to the plan, or to undefined if an optional network failed to come up. The failure is
   * reported, not thrown.
   */
  async #online(plan: NetworkPlan): Promise<NetworkPlan | undefined> {
    const { onRefusal, onNoNetwork } = this.options;
    const network = await this.#machine.network(
      onRefusal ?? ((refusal) => this.#log.info('the network refused', { ...refusal })),
    );
    if (network.up) this.#ports = [...network.ports];
    else onNoNetwork?.(network.reason);
    this.#trace.mark('networkUp');
    return network.up ? plan : undefined;
  }

  /** Kills a process that ignores that its reader is gone, and reports it as ended by SIGPIPE. */
  #endUnread(): void {
    this.#timers.after(KILL_GRACE, () => {
      this.#ending ??= 'broken-pipe';
      this.kill();
    });
  }

  #timeOut(): void {
    this.#ending = 'timeout';
    this.signal(SIGTERM);
    this.#timers.after(KILL_GRACE, () => this.kill());
  }

  #status({ code, signal, oomKilled = false }: ExitedFrame): ExitStatus {
    return defined({ code: this.#exitCode(code, signal), signal, oomKilled });
  }

  /** Docker's exit codes; 124 after a timeout, as timeout(1). */
  #exitCode(code: number | undefined, signal: number | undefined): number {
    switch (this.#ending) {
      case 'timeout':
        return 124;
      case 'broken-pipe':
        return 128 + SIGPIPE;
      default:
        // The protocol carries exactly one of the two.
        return code ?? 128 + (signal ?? 0);
    }
  }
}

interface Started {
  process: GuestProcess;
  /** Resolves when the output has ended. */
  output: Promise<unknown>;
}

interface StartParts {
  layer: boolean;
  shares: Parameters<typeof startRequests>[1]['shares'];
  network: NetworkPlan | undefined;
  seccomp: readonly BpfInstruction[] | undefined;
}

/** @throws SandboxError `no-space` */
function checkRoom(bytes: number, room: number): void {
  if (bytes <= room) return;
  throw new SandboxError('no-space', `the home has no room for ${bytes} bytes of memory (TSVM_HOME_SIZE)`);
}
