// One life of a container, from run spec to exit status. The machine process starts first since it takes longest;
// everything that it does not need to be told at once is done meanwhile.
import { randomInt } from 'node:crypto';
import type { MachineStatistics, PeerNetwork, PublishedPorts } from '../../vmm/machine.js';
import { type ContainerIo, ProcessIo } from '../agent/process-io.js';
import type { BpfInstruction, ExitedFrame, ProcessSpec, TerminalSize } from '../agent/protocol.js';
import type { AgentSession } from '../agent/session.js';
import { streamNames } from '../agent/stream-listener.js';
import { SandboxError } from '../errors.js';
import { type Log, SILENT } from '../log.js';
import { MachineClient } from '../machine/machine-client.js';
import { checkRunSpec } from '../spec/check-run-spec.js';
import { processLimits, seccompFilter } from '../spec/limits.js';
import type { RunSpec } from '../spec/run-spec.js';
import { type Boot, bootMachine } from './boot.js';
import type { ExitStatus, RunOptions } from './run-options.js';
import { networkFields } from './start-request.js';
import { Trace } from './trace.js';

/** Milliseconds until a guest that has not said hello is given up: an emulated machine takes many seconds. */
const BOOT_TIMEOUT = 120_000;
/** Milliseconds between SIGTERM and SIGKILL of a process whose time is over, and from there to the machine's end. */
const KILL_GRACE = 2_000;
/** Milliseconds for a guest to write its disk out and stop: what it has in memory may be gigabytes. */
const SYNC_TIMEOUT = 60_000;
/** Milliseconds for a killed process to be gone. */
const KILL_TIMEOUT = 10_000;
/** Milliseconds for a machine to say why its agent fell silent, or how often it exited. */
const LAST_WORDS = 2_000;

const SIGPIPE = 13;
const SIGKILL = 9;
const SIGTERM = 15;

/** A process that was started beside the container's first. */
export interface StartedProcess {
  /** In the guest's outermost pid namespace. */
  pid: number;
  /** Rejects when the machine ends before the process. */
  exited: Promise<ExitedFrame>;
  signal(signal: number): void;
  resize(size: TerminalSize): void;
}

/** A container that runs or is about to. */
export class ContainerRun {
  /** Resolves when the process runs. Never rejects: see `exit`. */
  readonly started: Promise<void>;
  /**
   * Resolves when the process has ended and its output is with the caller's streams.
   * Rejects with a SandboxError, ImageError or MachineError when there was no process to end.
   */
  readonly exit: Promise<ExitStatus>;
  readonly #trace: Trace;
  readonly #log: Log;
  readonly #owned: Disposable[] = [];
  readonly #io: ProcessIo;
  readonly #process = randomInt(1, 2 ** 32);
  #closed = false;
  #session: AgentSession | undefined;
  #machine: MachineClient | undefined;
  /** Of every process; depends on the guest's kernel. */
  #seccomp: readonly BpfInstruction[] | undefined;
  #address: string | undefined;
  #ports: PublishedPorts[] = [];
  #running = false;
  #timedOut = false;
  #brokenPipe = false;
  #start!: () => void;
  #abort!: (error: Error) => void;

  constructor(
    readonly spec: RunSpec,
    private readonly io: ContainerIo,
    private readonly options: RunOptions,
  ) {
    this.#trace = options.trace ?? new Trace();
    this.#log = options.log ?? SILENT;
    this.#io = new ProcessIo(io, {
      onFirstOutput: () => this.#trace.mark('firstOutput'),
      onBrokenPipe: () => this.#endUnread(),
      onWriteError: (cause) =>
        this.#abort(new SandboxError('state', `cannot write the output: ${cause.message}`, { cause })),
    });
    this.started = new Promise((resolve) => {
      this.#start = resolve;
    });
    const aborted = new Promise<never>((_, reject) => {
      this.#abort = reject;
    });
    this.exit = this.#run(aborted);
  }

  /** Counts the chunks of output that the process has written. */
  get outputChunks(): number {
    return this.#io.outputChunks;
  }

  /** Sends a signal, 1 to 64, to the process; ignored when there is none. */
  signal(signal: number): void {
    if (this.#running) this.#session?.signal(this.#process, signal);
  }

  /** Tells the process's terminal its size. */
  resize({ columns, rows }: TerminalSize): void {
    if (this.#running) this.#session?.resize(this.#process, columns, rows);
  }

  /** The machine's process, while there is one. */
  get machinePid(): number | undefined {
    return this.#machine?.pid;
  }

  /**
   * Starts a further process beside the first. Its streams arrive at the port that it names, or are read and dropped.
   * @throws SandboxError `not-running`, `not-found`, `cannot-invoke` or `agent`
   */
  async exec(process: ProcessSpec): Promise<StartedProcess> {
    const session = this.#session;
    if (!this.#running || session === undefined) throw new SandboxError('not-running', 'the container is not running');
    const limits = processLimits(this.spec);
    const capabilities = process.capabilities ?? limits.capabilities;
    const started = session.exec({ ...process, ...limits, capabilities, seccomp: this.#seccomp });
    if (process.port === undefined) {
      for (const name of streamNames(process)) session.stream(process.id, name).then((stream) => stream.resume());
    }
    const { pid } = await Promise.race([started, session.lost]);
    const exited = Promise.race([session.exited(process.id), session.lost]);
    exited.then(
      () => session.forget(process.id),
      () => {},
    );
    return {
      pid,
      exited,
      signal: (signal) => session.signal(process.id, signal),
      resize: ({ columns, rows }) => session.resize(process.id, columns, rows),
    };
  }

  /** Puts it into a private network. @throws SandboxError `not-running`, `network` */
  async joinNetwork(network: PeerNetwork): Promise<void> {
    if (this.#machine === undefined) throw new SandboxError('not-running', 'the container is not running');
    await Promise.race([this.#machine.join(network), this.exit]);
  }

  /** What its machine has counted so far. @throws SandboxError `not-running` */
  async statistics(): Promise<MachineStatistics> {
    const notRunning = () => new SandboxError('not-running', 'the container is not running');
    if (this.#machine === undefined) throw notRunning();
    const ended = this.#machine.ended.then(() => {
      throw notRunning();
    });
    return Promise.race([this.#machine.statistics(), ended]);
  }

  leaveNetwork(folder: string): void {
    this.#machine?.send({ type: 'leave', folder });
  }

  /** The container's IPv4 address; nothing before the network is planned, or without one. */
  get address(): string | undefined {
    return this.#address;
  }

  /** The ports of the host that lead to it, each with its address. */
  get ports(): readonly PublishedPorts[] {
    return this.#ports;
  }

  /** Stops the machine at once, with everything in it; `exit` rejects with `error`. */
  abort(error: Error): void {
    this.#abort(error);
  }

  async #run(aborted: Promise<never>): Promise<ExitStatus> {
    try {
      checkRunSpec(this.spec);
      return await Promise.race([this.#live(), aborted]);
    } finally {
      this.#running = false;
      this.#closed = true;
      for (const owned of this.#owned.reverse()) owned[Symbol.dispose]();
      // Nobody else may have the kept disk while a dying machine can still write to it.
      if (this.options.layer !== undefined) await Promise.race([this.#machine?.gone, sleep(KILL_TIMEOUT)]);
      this.#trace.mark('done');
      this.#trace.write();
      this.#log.debug('run ended', { phases: this.#trace.phases, statistics: this.#trace.statistics });
    }
  }

  /** What is owned is disposed of when the run ends, in reverse; at once when it has ended meanwhile. */
  #own<T extends Disposable>(resource: T): T {
    if (this.#closed) resource[Symbol.dispose]();
    else this.#owned.push(resource);
    return resource;
  }

  /** From the machine's start to its process's end. */
  async #live(): Promise<ExitStatus> {
    const machine = this.#takeMachine();
    const failed = machine.ended.then(({ error }) => {
      throw error ?? new SandboxError('machine-died', 'the machine stopped');
    });
    failed.catch(() => {});
    const boot = await bootMachine(machine, this.spec, this.options, {
      process: this.#process,
      hostname: this.#hostname,
      terminalSize: this.io.terminalSize,
      trace: this.#trace,
      log: this.#log,
      failed,
      own: (resource) => this.#own(resource),
    });
    const { session } = boot;
    this.#session = session;
    this.#address = boot.address;

    const broken = session.lost.catch(async (error) => {
      // The machine knows better why its guest went away.
      await Promise.race([failed, sleep(LAST_WORDS)]);
      throw error;
    });
    broken.catch(() => {});
    const ended = Promise.race([broken, failed]);
    ended.catch(() => {});
    const kernel = await this.#greet(session, ended);
    const { output } = await this.#startProcess(boot, kernel, ended);

    const exited = await Promise.race([session.exited(this.#process), ended]);
    this.#trace.mark('exited');
    await Promise.race([output, this.#io.stalled((timer) => this.#own(timer))]);
    // A machine that died closed its streams too: what looks like their end may be a part.
    if (!(await machine.isAlive())) await failed;
    if (this.options.layer !== undefined) await this.#writeOut(session, machine);
    return this.#status(exited);
  }

  #takeMachine(): MachineClient {
    const { spec, io, options } = this;
    const machine = this.#own(options.machine ?? new MachineClient());
    this.#machine = machine;
    if (spec.console || options.machineLog !== 'silent') machine.onStderr = (chunk) => io.stderr.write(chunk);
    this.#trace.mark('machineSpawned', machine.spawned);
    return machine;
  }

  /** Waits for the guest's agent: the guest's kernel. */
  async #greet(session: AgentSession, ended: Promise<never>): Promise<string> {
    const late = this.#after(BOOT_TIMEOUT, () => this.#abort(tooSlow()));
    const { agent, kernel, running = 0 } = await Promise.race([session.hello, ended]);
    late[Symbol.dispose]();
    this.#trace.mark('agentHello');
    this.#trace.mark('agentStarted', performance.timeOrigin + performance.now() - running / 1000);
    this.#log.debug('agent', { agent, kernel });
    return kernel;
  }

  /** Has the agent make the container and start its process; the end of the output is not waited for. */
  async #startProcess(
    { machine, session, request, address }: Boot,
    kernel: string,
    ended: Promise<never>,
  ): Promise<{ output: Promise<unknown> }> {
    const { spec, options } = this;
    this.#seccomp = seccompFilter(spec, kernel);
    const isOnline = address === undefined || (await this.#online(machine, ended));
    const started = session.start({
      ...request,
      ...(isOnline ? {} : networkFields(spec, this.#hostname)),
      clock: Date.now() * 1000,
      process: { ...request.process, seccomp: this.#seccomp },
    });
    const streams = options.hold
      ? { terminal: false, stdin: false }
      : { terminal: spec.terminal === true, stdin: spec.stdin === true };
    const output = this.#io.connect((name) => session.stream(this.#process, name), streams);
    await Promise.race([started, ended]);
    this.#trace.mark('processStarted');
    if (this.#trace.wanted) {
      machine.statistics().then((statistics) => {
        this.#trace.statistics = statistics;
      });
    }
    this.#running = true;
    this.#start();
    if (spec.timeout && !options.hold) this.#after(spec.timeout, () => this.#timeOut());
    return { output };
  }

  get #hostname(): string {
    return this.spec.hostname ?? this.options.folder.id;
  }

  /** Whether the machine's network is there; where it is not to be had, it was not asked for, and that is only told. */
  async #online(machine: MachineClient, ended: Promise<never>): Promise<boolean> {
    machine.onRefusal = (refusal) => {
      if (this.options.onRefusal !== undefined) this.options.onRefusal(refusal);
      else this.#log.info('the network refused', { ...refusal });
    };
    machine.onNetworkLost = (reason) => this.#log.warn(`the container's network is gone: ${reason}`);
    const network = await Promise.race([machine.network, ended]);
    if (network.up) this.#ports = network.ports;
    else this.options.onNoNetwork?.(network.reason);
    this.#trace.mark('networkUp');
    return network.up;
  }

  /** The guest writes its disk out and stops. One that does not gets no more time than a crash would give it. */
  async #writeOut(session: AgentSession, machine: MachineClient): Promise<void> {
    this.#running = false;
    session.shutdown();
    if ((await Promise.race([machine.ended, sleep(SYNC_TIMEOUT)])) === undefined) {
      this.#log.warn('the guest did not write its disk out in time');
    }
  }

  /** A process that takes no notice of a lost reader is ended as SIGPIPE would. */
  #endUnread(): void {
    this.#after(KILL_GRACE, () => {
      this.#brokenPipe = true;
      this.kill();
    });
  }

  #timeOut(): void {
    this.#timedOut = true;
    this.signal(SIGTERM);
    this.#after(KILL_GRACE, () => this.kill());
  }

  /** Ends the process, and the machine when that has no effect. */
  kill(): void {
    this.signal(SIGKILL);
    const why = 'the process could not be killed: its machine was stopped';
    this.#after(KILL_GRACE, () => this.#abort(new SandboxError('agent', why)));
  }

  /** A timer that ends with the run. */
  #after(milliseconds: number, act: () => void): Disposable {
    // setTimeout counts to some 24 days, and takes what is longer for nothing.
    const timer = setTimeout(act, Math.min(milliseconds, 2 ** 31 - 1));
    return this.#own({ [Symbol.dispose]: () => clearTimeout(timer) });
  }

  #status({ code, signal, oomKilled = false }: ExitedFrame): ExitStatus {
    let status = signal === undefined ? code! : 128 + signal;
    if (this.#brokenPipe) status = 128 + SIGPIPE;
    if (this.#timedOut) status = 124;
    return { code: status, signal, oomKilled };
  }
}

function tooSlow(): SandboxError {
  const seconds = BOOT_TIMEOUT / 1000;
  return new SandboxError('boot-timeout', `the guest did not start in ${seconds} s: --console shows how far it came`);
}

/** A wait that keeps no process alive. */
function sleep(milliseconds: number): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds, undefined).unref();
  });
}
