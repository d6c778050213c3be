// The life of one container, from run spec to exit status. The machine process starts first since it takes longest;
// everything that it does not need to be told at once is done meanwhile.
import { randomInt } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { type Image, openStore, type Progress } from '../images/index.js';
import { kernelPath } from '../kernels/index.js';
import type { MachineSpec } from '../vmm/machine.js';
import type { ExitedFrame, StartRequest, TerminalSize } from './agent-protocol.js';
import { AgentSession } from './agent-session.js';
import { SandboxError } from './errors.js';
import { probeCachePath, tsvmHome } from './home.js';
import { type Log, SILENT } from './log.js';
import { MachineProcess } from './machine-process.js';
import { resolveProcess } from './process-spec.js';
import { INITRAMFS } from './programs.js';
import { checkRunSpec, DEFAULT_MEMORY, type RunSpec } from './run-spec.js';
import { ScratchDisk } from './scratch-disk.js';
import { StateFolder, sweepStateFolders } from './state-folder.js';
import { type Copy, copy } from './streams.js';
import { Trace } from './trace.js';

const GUEST_CID = 3;
const PAGE = 4096;
/** Milliseconds until a guest that has not said hello is given up: an emulated machine takes many seconds. */
const BOOT_TIMEOUT = 120_000;
/** Milliseconds between SIGTERM and SIGKILL of a process whose time is over, and from there to the machine's end. */
const KILL_GRACE = 2_000;
/** Milliseconds without a byte after which the output of a process that is gone has ended. */
const OUTPUT_STALL = 10_000;
/** Milliseconds for a machine to say why its agent fell silent, or how often it exited. */
const LAST_WORDS = 2_000;

const SIGPIPE = 13;
const SIGKILL = 9;
const SIGTERM = 15;

/** The caller's ends of the process's streams. A terminal's output goes to `stdout`. None of them is closed. */
export interface ContainerIo {
  stdin?: Readable;
  stdout: Writable;
  stderr: Writable;
  /** Of the process's terminal when it starts. */
  terminalSize?: TerminalSize;
}

export interface RunOptions {
  /** Default: see `tsvmHome`. */
  home?: string;
  /** A process that was started in advance, and is owned by the run from now on. */
  machine?: MachineProcess;
  log?: Log;
  trace?: Trace;
  /** Told while an image is made ready for the first time. */
  onProgress?: (progress: Progress) => void;
  /** Told why the machine is emulated, where the spec's accelerator is `auto`. */
  onFallback?: (reason: string) => void;
  /** The machine process's log; what it writes goes to `io.stderr`. Default `warn`. */
  machineLog?: MachineSpec['logLevel'];
}

export interface ExitStatus {
  /** As Docker's: the process's own, 128+n when signal n ended it, 124 when its time was over. */
  code: number;
  /** The signal that ended the process. */
  signal?: number;
  /** The guest had no memory left for the process. */
  oomKilled: boolean;
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
  readonly #outputs: Copy[] = [];
  readonly #process = randomInt(1, 2 ** 32);
  #closed = false;
  #session: AgentSession | undefined;
  #running = false;
  #timedOut = false;
  #brokenPipe = false;
  #start!: () => void;
  #abort!: (error: Error) => void;

  constructor(
    readonly spec: RunSpec,
    private readonly io: ContainerIo,
    private readonly options: RunOptions = {},
  ) {
    this.#trace = options.trace ?? new Trace();
    this.#log = options.log ?? SILENT;
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
    return this.#outputs.reduce((sum, { chunks }) => sum + chunks, 0);
  }

  /** Sends a signal, 1 to 64, to the process; ignored when there is none. */
  signal(signal: number): void {
    if (this.#running) this.#session?.signal(this.#process, signal);
  }

  /** Tells the process's terminal its size. */
  resize({ columns, rows }: TerminalSize): void {
    if (this.#running) this.#session?.resize(this.#process, columns, rows);
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

  async #live(): Promise<ExitStatus> {
    const { spec, io, options } = this;
    const { machineLog = 'warn', home = tsvmHome() } = options;
    const kernel = spec.kernel ?? builtKernel();
    const machine = this.#own(options.machine ?? new MachineProcess());
    if (spec.console || machineLog !== 'silent') machine.onStderr = (chunk) => io.stderr.write(chunk);
    this.#trace.mark('machineSpawned', machine.spawned);
    const failed = machine.ended.then(({ error }) => {
      throw error ?? new SandboxError('machine-died', 'the machine stopped');
    });
    failed.catch(() => {});

    const folder = this.#own(new StateFolder());
    const [image, session, disk] = await Promise.race([
      Promise.all([
        openStore(home).resolve(spec.image, { onProgress: options.onProgress }),
        this.#listen(folder),
        spec.disk === undefined
          ? undefined
          : ScratchDisk.create(home, folder.id, spec.disk).then((it) => this.#own(it)),
      ]),
      failed,
    ]);
    this.#trace.mark('imageResolved');
    const hostname = spec.hostname ?? folder.id;
    const request = this.#startRequest(image, hostname, disk !== undefined);

    machine.send({ type: 'boot', spec: this.#machineSpec({ kernel, image, disk, folder, home, machineLog }) });
    this.#trace.mark('bootSent');
    machine.booted.then(({ accel, reason, times }) => {
      if (reason !== undefined) options.onFallback?.(reason);
      this.#trace.markMachine(times);
      this.#log.debug('booted', { accel, image: image.digest });
      // The machine has it open: the disk needs no name any more, and so is gone whatever happens.
      disk?.[Symbol.dispose]();
    });
    sweepStateFolders(folder.root).then(
      (swept) => swept.length > 0 && this.#log.debug('removed what dead runs left', { swept }),
      (error) => this.#log.warn(`cannot remove what dead runs left: ${error.message}`),
    );

    const broken = session.lost.catch(async (error) => {
      // The machine knows better why its guest went away.
      await Promise.race([failed, sleep(LAST_WORDS)]);
      throw error;
    });
    broken.catch(() => {});
    const boot = this.#after(BOOT_TIMEOUT, () => this.#abort(tooSlow()));
    const hello = await Promise.race([session.hello, broken, failed]);
    boot[Symbol.dispose]();
    this.#trace.mark('agentHello');
    const agentRunning = (hello.running ?? 0) / 1000;
    this.#trace.mark('agentStarted', performance.timeOrigin + performance.now() - agentRunning);
    this.#log.debug('agent', { agent: hello.agent, kernel: hello.kernel });

    const started = session.start({ ...request, clock: Date.now() * 1000 });
    const output = this.#connect(session);
    await Promise.race([started, broken, failed]);
    this.#trace.mark('processStarted');
    if (this.#trace.wanted) {
      machine.statistics().then((statistics) => {
        this.#trace.statistics = statistics;
      });
    }
    this.#running = true;
    this.#start();
    if (spec.timeout) this.#after(spec.timeout, () => this.#timeOut());

    const exited = await Promise.race([session.exited(this.#process), broken, failed]);
    this.#trace.mark('exited');
    await Promise.race([output, this.#stalled()]);
    // A machine that died closed its streams too: what looks like their end may be a part.
    if (!(await machine.isAlive())) await failed;
    return this.#status(exited);
  }

  async #listen(folder: StateFolder): Promise<AgentSession> {
    const session = this.#own(await AgentSession.listen(folder.agentSocket));
    folder.publish();
    this.#session = session;
    return session;
  }

  #machineSpec(from: {
    kernel: string;
    image: Image;
    disk?: ScratchDisk;
    folder: StateFolder;
    home: string;
    machineLog: MachineSpec['logLevel'];
  }): MachineSpec {
    const { spec } = this;
    const disks: MachineSpec['disks'] = [{ id: 'image', readOnly: true, extents: from.image.disk }];
    if (from.disk !== undefined) {
      const { path, size } = from.disk;
      disks.push({ id: 'scratch', readOnly: false, extents: [{ path, offset: 0, length: size }] });
    }
    return {
      accel: spec.accel ?? 'auto',
      kernel: from.kernel,
      initramfs: INITRAMFS,
      commandLine: '',
      cpus: spec.cpus ?? 1,
      memory: Math.ceil((spec.memory ?? DEFAULT_MEMORY) / PAGE) * PAGE,
      disks,
      vsock: { guestCid: GUEST_CID, path: from.folder.vsock },
      console: spec.console ?? false,
      probeCache: probeCachePath(from.home),
      logLevel: from.machineLog,
    };
  }

  #startRequest(image: Image, hostname: string, disk: boolean): Omit<StartRequest, 'type' | 'request'> {
    const { spec, io } = this;
    return {
      hostname,
      root: { device: '/dev/vda', scratch: disk ? '/dev/vdb' : undefined, readonly: spec.readOnly },
      tmpfs: spec.tmpfs && [...spec.tmpfs],
      hosts: hostsFile(hostname),
      // No network yet: a resolver that is asked says so at once.
      resolvConf: '',
      process: {
        id: this.#process,
        ...resolveProcess(image.config, spec, hostname),
        terminal: spec.terminal ? (io.terminalSize ?? { columns: 0, rows: 0 }) : undefined,
        stdin: spec.stdin,
      },
    };
  }

  /** Connects the process's streams as they arrive; resolves when its output has ended. */
  async #connect(session: AgentSession): Promise<void> {
    const { spec, io } = this;
    const connect = async (name: 'stdout' | 'stderr' | 'terminal', sink: Writable) => {
      const stream = await session.stream(this.#process, name);
      if (name === 'terminal' && spec.stdin) this.#feed(stream);
      await this.#drain(stream, sink);
    };
    if (spec.terminal) return connect('terminal', io.stdout);
    if (spec.stdin) session.stream(this.#process, 'stdin').then((stream) => this.#feed(stream));
    await Promise.all([connect('stdout', io.stdout), connect('stderr', io.stderr)]);
  }

  #feed(stream: Socket): void {
    if (this.io.stdin === undefined) stream.end();
    else copy(this.io.stdin, stream).done.then(() => stream.end());
  }

  async #drain(stream: Socket, sink: Writable): Promise<void> {
    const output = copy(stream, sink, () => this.#trace.mark('firstOutput'));
    this.#outputs.push(output);
    const end = await output.done;
    if (end.reason === 'end') return;
    if (end.error.code !== 'EPIPE') {
      this.#abort(new SandboxError('state', `cannot write the output: ${end.error.message}`, { cause: end.error }));
      return;
    }
    // Nobody reads on. The process learns it as from any pipe; one that takes no notice is ended as SIGPIPE would.
    stream.destroy();
    this.#after(KILL_GRACE, () => {
      this.#brokenPipe = true;
      this.#kill();
    });
  }

  #timeOut(): void {
    this.#timedOut = true;
    this.signal(SIGTERM);
    this.#after(KILL_GRACE, () => this.#kill());
  }

  #kill(): void {
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

  /** Resolves when a guest whose process is gone neither ends its output nor goes on with it. */
  #stalled(): Promise<void> {
    return new Promise((resolve) => {
      let seen = -1;
      const timer = setInterval(() => {
        const { outputChunks } = this;
        if (seen === outputChunks && !this.#outputs.some(({ blocked }) => blocked)) resolve();
        seen = outputChunks;
      }, OUTPUT_STALL);
      this.#own({ [Symbol.dispose]: () => clearInterval(timer) });
    });
  }

  #status({ code, signal, oomKilled = false }: ExitedFrame): ExitStatus {
    let status = signal === undefined ? code! : 128 + signal;
    if (this.#brokenPipe) status = 128 + SIGPIPE;
    if (this.#timedOut) status = 124;
    return { code: status, signal, oomKilled };
  }
}

/** Starts a container. */
export function runContainer(spec: RunSpec, io: ContainerIo, options?: RunOptions): ContainerRun {
  return new ContainerRun(spec, io, options);
}

function builtKernel(): string {
  const path = kernelPath();
  if (path === undefined) throw new SandboxError('no-kernel', 'no guest kernel is built, run: tsvm kernel build');
  return path;
}

/** /etc/hosts as Docker's, with the container's own name on the loopback interface: it has no other. */
function hostsFile(hostname: string): string {
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    `127.0.1.1\t${hostname}`,
    '',
  ].join('\n');
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
