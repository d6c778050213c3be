// A sandbox: a machine that lives as long as the program wants it, and runs commands.

import { type Duplex, PassThrough, Readable, type Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { GatheredBytes } from '../bytes/index.js';
import type { Progress } from '../images/index.js';
import type { Accelerator } from '../vmm/machine.js';
import { CallLimit, type CallOptions, unlessAborted } from './abort.js';
import type { TerminalSize } from './agent/protocol.js';
import type { CloneOptions } from './containers/clone.js';
import { Container } from './containers/container.js';
import type { Exec } from './containers/exec.js';
import type { ContainerFiles } from './containers/files.js';
import type { GuestSocket } from './containers/guest-listener.js';
import type { Usage } from './containers/report.js';
import { SandboxError } from './errors.js';
import { Home } from './home/home.js';
import type { MachineClient } from './machine/machine-client.js';
import type { ContainerSpec } from './spec/container-spec.js';
import type { BoundPort } from './spec/published-ports.js';
import type { Environment } from './spec/run-spec.js';
import type { Signal } from './spec/signal-number.js';
import type { Supervision } from './supervision/supervision.js';

const SIGKILL = 9;
/** Milliseconds that a killed command has to exit, before its caller is told all the same. */
const KILL_GRACE = 2_000;
/** Bytes of each stream that `run` keeps. */
const MAX_OUTPUT = 16 * 1024 * 1024;

/**
 * A wrong result must not come without it. Node.js prints it to stderr, or the program handles it.
 */
function onEmulatedCpus(cpus: number): void {
  process.emitWarning(`QEMU emulates ${cpus} CPUs: programs that change their own code may crash or err`, {
    type: 'TsvmWarning',
    code: 'TSVM_EMULATED_CPUS',
  });
}

/** Options of a sandbox: those of `tsvm run`, and a few more. */
export interface SandboxOptions
  extends Omit<
    ContainerSpec,
    'image' | 'command' | 'autoRemove' | 'restart' | 'noCommand' | 'timeout' | 'health' | 'noHealthcheck'
  > {
  /** Default: `new Home()`. */
  home?: Home | undefined;
  /** Ends the sandbox, also while it starts. */
  signal?: AbortSignal | undefined;
  /** Milliseconds from the call after which a sandbox that has not started is given up. */
  timeout?: number | undefined;
  /** Called with the progress while an image is pulled and converted. */
  onProgress?: ((progress: Progress) => void) | undefined;
}

/** Options of a sandbox that comes from a snapshot. */
export interface RestoreOptions extends Omit<CloneOptions, 'autoRemove' | 'restart'> {
  /** Default: `new Home()`. */
  home?: Home | undefined;
  /** Ends the sandbox, also while it starts. */
  signal?: AbortSignal | undefined;
  /** Milliseconds from the call after which a sandbox that has not started is given up. */
  timeout?: number | undefined;
}

/** Options of a command in a sandbox. */
export interface ProcessOptions {
  /** Added to the sandbox's variables. `null` removes a variable. */
  env?: Environment | undefined;
  /** Working directory, an absolute path. Default: the image's. */
  cwd?: string | undefined;
  /** `user[:group]`, names or numbers. Default: the image's. */
  user?: string | undefined;
  /**
   * The input of the command. Default: none. `pipe`: whatever is written to `stdin` of the process.
   */
  stdin?: 'pipe' | string | Uint8Array | Readable | undefined;
  /** Gives the command a terminal of this size. All its output is on `stdout` then. */
  terminal?: TerminalSize | undefined;
  /** Ends the call and kills the command. The reason is what the call or `exit` rejects with. */
  signal?: AbortSignal | undefined;
  /** Milliseconds from the call after which the command is killed. */
  timeout?: number | undefined;
  /** If true, the command has all capabilities. */
  privileged?: boolean | undefined;
  /**
   * If true, all other processes of the sandbox are killed once the command has exited: those that it
   * left in the background, and other commands. `exit` resolves when they are gone.
   */
  killRest?: boolean | undefined;
}

/** Options of a command whose output is collected. */
export interface RunCommandOptions extends ProcessOptions {
  /** The most bytes of stdout, and of stderr. Default: 16 MiB each. */
  maxOutput?: number | undefined;
  /**
   * What happens to a command that writes more: `kill` (the default) kills it, and the call rejects
   * with a SandboxError `output`; `truncate` drops the rest.
   */
  onMaxOutput?: 'kill' | 'truncate' | undefined;
}

/** The result of a command. */
export interface ProcessResult {
  /** The exit code, or 128+n if signal n ended the command. */
  code: number;
  stdout: string;
  stderr: string;
  /** True if output was dropped: see `onMaxOutput`. */
  truncated: boolean;
}

/** A command that runs in a sandbox. */
export interface SandboxProcess {
  /** Process id in the guest. */
  readonly pid: number;
  /** Present with `stdin: 'pipe'`. */
  readonly stdin?: Writable | undefined;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /**
   * Resolves to the exit code, or to 128+n if signal n ended the command, once the output has been
   * read. Rejects with the reason of `signal` if that ended the command, or with a SandboxError
   * `timeout` or `machine-died`. After `signal` or `timeout` it rejects within two seconds, also if
   * the guest does not react.
   */
  readonly exit: Promise<number>;
  /** Sends a signal. Default SIGKILL. @throws SandboxError `bad-spec` */
  kill(signal?: Signal): void;
  /** Sets the size of its terminal. */
  resize(size: TerminalSize): void;
}

/**
 * A sandbox. It ends with `close`, at the end of its `await using` block, or with the program.
 *
 * ```ts
 * await using sandbox = await Sandbox.create('debian:12', { memory: 256 * 2 ** 20 });
 * const { stdout } = await sandbox.run(['uname', '-r']);
 * ```
 */
export class Sandbox implements AsyncDisposable {
  readonly #container: Container;
  readonly #supervision: Supervision;
  readonly #ended: Promise<void>;

  private constructor(container: Container, supervision: Supervision) {
    this.#container = container;
    this.#supervision = supervision;
    this.#ended = supervision.exit.then(
      () => {},
      () => {},
    );
  }

  /**
   * Starts a sandbox of an image. No command runs in it yet.
   * @throws SandboxError (`timeout` if it has not started in time), ImageError, MachineError; the
   *   reason of `options.signal`
   */
  static async create(image: string, options: SandboxOptions = {}): Promise<Sandbox> {
    const { home = new Home(), signal, timeout, onProgress, ...spec } = options;
    using limit = new CallLimit({ signal, timeout });
    limit.signal.throwIfAborted();
    const { MachineClient } = await loadMachines();
    // It takes longest to start. The supervision owns it later.
    const machine = new MachineClient();
    let container: Container;
    try {
      const described = { ...spec, image, command: [], autoRemove: true, noCommand: true };
      const creating = Container.create(home, described, { onProgress, isSupervised: true });
      // A container that is made too late is removed.
      container = await unlessAborted(creating, limit.signal).catch((error: unknown) => {
        if (limit.signal.aborted) creating.then((late) => late.remove()).catch(() => {});
        throw error;
      });
    } catch (error) {
      machine[Symbol.dispose]();
      throw error;
    }
    return await Sandbox.#start(container, machine, { signal, limit });
  }

  /**
   * Starts a clone of the sandbox in a snapshot: its memory, processes and files are those of the
   * snapshot, and all that must be its own is new.
   * @param snapshot the name of one in `options.home`
   * @throws SandboxError `no-such-snapshot`, `snapshot` if it is damaged or cannot continue here, and as
   *   `create`
   */
  static async restore(snapshot: string, options: RestoreOptions = {}): Promise<Sandbox> {
    const { home = new Home(), signal, timeout, ...own } = options;
    using limit = new CallLimit({ signal, timeout });
    limit.signal.throwIfAborted();
    await loadMachines();
    const container = await Container.restore(home, snapshot, { ...own, autoRemove: true, isSupervised: true });
    return await Sandbox.#start(container, undefined, { signal, limit });
  }

  /** @param machine a machine process that was started in advance */
  static async #start(
    container: Container,
    machine: MachineClient | undefined,
    { signal, limit }: { signal?: AbortSignal | undefined; limit: CallLimit },
  ): Promise<Sandbox> {
    const { Supervision } = await loadMachines();
    const supervision = container.supervise(Supervision, { machine, onEmulatedCpus });
    const sandbox = new Sandbox(container, supervision);
    const abort = () => supervision.abort(new SandboxError('aborted', 'aborted'));
    signal?.addEventListener('abort', abort, { once: true });
    sandbox.#ended.then(() => signal?.removeEventListener('abort', abort));
    if (signal?.aborted) abort();
    try {
      await unlessAborted(Promise.race([supervision.started, supervision.exit]), limit.signal);
    } catch (error) {
      abort();
      limit.signal.throwIfAborted();
      throw error;
    }
    return sandbox;
  }

  /** Runs one command in a sandbox of its own. @throws as `create` and `run` */
  static async run(
    image: string,
    command: readonly string[],
    options: SandboxOptions & { process?: RunCommandOptions } = {},
  ): Promise<ProcessResult> {
    const { process, ...rest } = options;
    await using sandbox = await Sandbox.create(image, rest);
    return await sandbox.run(command, { signal: options.signal, ...process });
  }

  /**
   * Makes a snapshot of it, with memory, processes and files, and runs on. `Sandbox.restore` and
   * `tsvm run --snapshot` continue it.
   * @throws SandboxError `conflict` if the name is taken or it runs without KVM, `bad-spec`,
   *   `snapshot`, `no-space`, `state`, `not-running`, `unresponsive`
   */
  async snapshot(name: string): Promise<void> {
    await this.#container.snapshot(name);
  }

  /**
   * Takes it back to where a snapshot of it was taken, with that memory, those processes and files. All
   * that runs in it ends. It keeps its ID, name, addresses and published ports, and all else is new as in a clone.
   * @param snapshot the name of one that `snapshot` of this sandbox made
   * @throws SandboxError `no-such-snapshot`; `snapshot` if it is damaged or cannot continue here,
   *   `no-space`, `state`, `not-running`: nothing has changed; if its machine cannot run for another
   *   reason, that one: the sandbox has ended
   */
  async rollback(snapshot: string): Promise<void> {
    await this.#container.rollback(snapshot);
  }

  /**
   * Starts clones of it as it is now, and runs on. If one cannot be started, the others are closed.
   * @throws SandboxError as `snapshot` and `restore`
   */
  async fork(count = 1): Promise<Sandbox[]> {
    const own = { autoRemove: true, isSupervised: true };
    const results = await this.#container.cloneEach(count, own, async (clone) => {
      using limit = new CallLimit({});
      return await Sandbox.#start(clone, undefined, { limit });
    });
    const clones = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const failure = results.find((result) => result.status === 'rejected');
    if (failure === undefined) return clones;
    await Promise.all(clones.map((clone) => clone.close()));
    throw failure.reason;
  }

  /** The published ports: those of `network.publish` and `network.publishAll`. */
  get ports(): BoundPort[] {
    return this.#container.ports;
  }

  /** The container's ID, 64 hexadecimal digits. `tsvm exec` and other commands take it. */
  get id(): string {
    return this.#container.id;
  }

  /** The container's name, as in `tsvm ps`. */
  get name(): string {
    return this.#container.name ?? '';
  }

  get files(): ContainerFiles {
    return this.#container.files;
  }

  /** Resolves when the sandbox has ended, for whatever reason. */
  get closed(): Promise<void> {
    return this.#ended;
  }

  /**
   * True while the guest has let the deadline of a request pass (30 s). Requests fail at once with
   * `unresponsive` then, and `close` ends the sandbox at once.
   */
  get suspect(): boolean {
    return this.#container.state.unresponsive === true;
  }

  /**
   * What runs the guest: `kvm`, `uml` for User-Mode Linux, or `tcg` for QEMU's emulator. Undefined
   * once the sandbox has ended.
   */
  get accelerator(): Accelerator | undefined {
    return this.#container.state.accelerator;
  }

  /**
   * Current use of resources, in the guest and on the host.
   * @throws SandboxError `not-running`, `unresponsive`, `timeout`; the reason of `options.signal`
   */
  usage(options?: CallOptions): Promise<Usage> {
    return this.#container.usage(options);
  }

  /**
   * Starts a command.
   * @throws SandboxError `not-found`, `cannot-invoke`, `bad-spec`, `not-running`, `unresponsive`,
   *   `timeout`; the reason of `options.signal`
   */
  async exec(command: readonly string[], options: ProcessOptions = {}): Promise<SandboxProcess> {
    return this.#exec(command, options, new CallLimit(options));
  }

  /** @param limit ends the command; disposed of with it */
  async #exec(command: readonly string[], options: ProcessOptions, limit: CallLimit): Promise<SandboxProcess> {
    const { env, cwd, user, stdin, terminal, privileged, killRest } = options;
    const input = stdin === 'pipe' ? new PassThrough() : toReadable(stdin);
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    let process: Exec;
    try {
      limit.signal.throwIfAborted();
      process = await this.#container.exec(
        {
          ...{ command, env, cwd, user, privileged },
          terminal: terminal !== undefined,
          stdin: input !== undefined,
        },
        { stdin: input, stdout, stderr, terminalSize: terminal },
        { signal: limit.signal, killRest },
      );
    } catch (error) {
      limit[Symbol.dispose]();
      throw error;
    }
    return {
      pid: process.pid,
      stdin: stdin === 'pipe' ? (input as PassThrough) : undefined,
      stdout,
      stderr,
      exit: exitWithin(process, limit).finally(() => {
        stdout.end();
        stderr.end();
      }),
      kill: (which: Signal = SIGKILL) => process.signal(which),
      resize: (size) => process.resize(size),
    };
  }

  /**
   * Runs a command to its end, and returns its output as text.
   * @throws as `exec`, and as `SandboxProcess.exit`; SandboxError `output`
   */
  async run(command: readonly string[], options: RunCommandOptions = {}): Promise<ProcessResult> {
    const { maxOutput = MAX_OUTPUT, onMaxOutput = 'kill' } = options;
    const limit = new CallLimit(options);
    const process = await this.#exec(command, options, limit);
    let truncated = false;
    const onMore = (name: string) => {
      truncated = true;
      if (onMaxOutput === 'truncate') return;
      limit.abort(new SandboxError('output', `the command wrote more than ${maxOutput} bytes to ${name}`));
    };
    const [stdout, stderr, code] = await Promise.all([
      collect(process.stdout, maxOutput, () => onMore('stdout')),
      collect(process.stderr, maxOutput, () => onMore('stderr')),
      process.exit,
    ]);
    return { code, stdout, stderr, truncated };
  }

  /**
   * Listens on a unix socket in it, until the result is disposed of or the processes in it are
   * killed. Up to 16 connections are open at once; further clients wait.
   * @param onConnection called with each connection, which its owner ends or destroys
   * @throws SandboxError `not-running`, `unresponsive`, `agent`, `tool`; the reason of `signal`
   * @internal
   */
  listen(socket: GuestSocket, onConnection: (connection: Duplex) => void, signal?: AbortSignal): Promise<Disposable> {
    return this.#container.listen(socket, onConnection, signal);
  }

  /** Ends the sandbox with everything in it. */
  async close(): Promise<void> {
    this.#supervision.stop(SIGKILL, 0);
    await this.#ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Loads what starts machines, which takes long. Called before there is anything that a failure would
 * leave, such as of a host without descriptors: Node.js then fails each later time, too.
 */
async function loadMachines() {
  const [{ MachineClient }, { Supervision }] = await Promise.all([
    import('./machine/machine-client.js'),
    import('./supervision/supervision.js'),
  ]);
  return { MachineClient, Supervision };
}

/** The exit of a process, which a limit may kill first. */
async function exitWithin(process: Exec, limit: CallLimit): Promise<number> {
  using _limit = limit;
  try {
    return await unlessAborted(process.exit, limit.signal);
  } catch (error) {
    if (!limit.signal.aborted) throw error;
    process.signal(SIGKILL);
    const gone = process.exit.catch(() => {});
    await Promise.race([gone, sleep(KILL_GRACE, undefined, { ref: false })]);
    process.abandon();
    throw error;
  }
}

function toReadable(input: ProcessOptions['stdin']): Readable | undefined {
  if (input === undefined || input instanceof Readable) return input;
  return Readable.from([Buffer.from(input as Uint8Array)]);
}

/** The first `max` bytes of a stream. The rest is read and dropped. */
async function collect(stream: Readable, max: number, onMore: () => void): Promise<string> {
  const kept = new GatheredBytes();
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (kept.length + chunk.length > max) onMore();
    kept.add(chunk.subarray(0, max - kept.length));
  }
  return kept.bytes.toString();
}
