// A sandbox: a machine that lives as long as the program wants it, and runs commands.
import { PassThrough, Readable, type Writable } from 'node:stream';
import type { Progress } from '../images/index.js';
import type { TerminalSize } from './agent/protocol.js';
import { Container } from './containers/container.js';
import type { ContainerFiles } from './containers/files.js';
import type { Usage } from './containers/report.js';
import { SandboxError } from './errors.js';
import { Home } from './home/home.js';
import { MachineClient } from './machine/machine-client.js';
import type { ContainerSpec } from './spec/container-spec.js';
import type { BoundPort } from './spec/published-ports.js';
import type { Environment } from './spec/run-spec.js';
import type { Signal } from './spec/signal-number.js';
import type { Supervision } from './supervision/supervision.js';

const SIGKILL = 9;

/** Options of a sandbox: those of `tsvm run`, and a few more. */
export interface SandboxOptions
  extends Omit<ContainerSpec, 'image' | 'command' | 'autoRemove' | 'restart' | 'noCommand'> {
  /** Default: `new Home()`. */
  home?: Home | undefined;
  /** Ends the sandbox, also while it starts. */
  signal?: AbortSignal | undefined;
  /** Called with the progress while an image is pulled and converted. */
  onProgress?: ((progress: Progress) => void) | undefined;
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
  /** Kills the command. */
  signal?: AbortSignal | undefined;
  /** Milliseconds after which the command is killed. */
  timeout?: number | undefined;
  /** If true, the command has all capabilities. */
  privileged?: boolean | undefined;
}

/** The result of a command. */
export interface ProcessResult {
  /** The exit code, or 128+n if signal n ended the command. */
  code: number;
  stdout: string;
  stderr: string;
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
   * `timeout` or `machine-died`.
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
   * @throws SandboxError, ImageError, MachineError; the reason of `options.signal`
   */
  static async create(image: string, options: SandboxOptions = {}): Promise<Sandbox> {
    const { home = new Home(), signal, onProgress, ...spec } = options;
    signal?.throwIfAborted();
    // It takes longest to start. The supervision owns it later.
    const machine = new MachineClient();
    let container: Container;
    try {
      const described = { ...spec, image, command: [], autoRemove: true, noCommand: true };
      container = await Container.create(home, described, { onProgress });
    } catch (error) {
      machine[Symbol.dispose]();
      throw error;
    }
    const supervision = container.supervise({ machine });
    const sandbox = new Sandbox(container, supervision);
    const abort = () => supervision.abort(new SandboxError('aborted', 'aborted'));
    signal?.addEventListener('abort', abort, { once: true });
    sandbox.#ended.then(() => signal?.removeEventListener('abort', abort));
    if (signal?.aborted) abort();
    try {
      await Promise.race([supervision.started, supervision.exit]);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
    return sandbox;
  }

  /** Runs one command in a sandbox of its own. @throws as `create` and `run` */
  static async run(
    image: string,
    command: readonly string[],
    options: SandboxOptions & { process?: ProcessOptions } = {},
  ): Promise<ProcessResult> {
    const { process, ...rest } = options;
    await using sandbox = await Sandbox.create(image, rest);
    return await sandbox.run(command, { signal: options.signal, ...process });
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

  /** Current use of resources, in the guest and on the host. @throws SandboxError `not-running` */
  usage(): Promise<Usage> {
    return this.#container.usage();
  }

  /**
   * Starts a command.
   * @throws SandboxError `not-found`, `cannot-invoke`, `bad-spec`, `not-running`; the reason of
   *   `options.signal`
   */
  async exec(command: readonly string[], options: ProcessOptions = {}): Promise<SandboxProcess> {
    const { env, cwd, user, stdin, terminal, signal, timeout, privileged } = options;
    signal?.throwIfAborted();
    const input = stdin === 'pipe' ? new PassThrough() : toReadable(stdin);
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const process = await this.#container.exec(
      {
        ...{ command, env, cwd, user, privileged },
        terminal: terminal !== undefined,
        stdin: input !== undefined,
      },
      { stdin: input, stdout, stderr, terminalSize: terminal },
    );
    const kill = (which: Signal = SIGKILL) => process.signal(which);
    return {
      pid: process.pid,
      stdin: stdin === 'pipe' ? (input as PassThrough) : undefined,
      stdout,
      stderr,
      exit: watched(process.exit, () => kill(), { signal, timeout }).finally(() => {
        stdout.end();
        stderr.end();
      }),
      kill,
      resize: (size) => process.resize(size),
    };
  }

  /**
   * Runs a command to its end, and returns its output as text.
   * @throws as `exec`, and as `SandboxProcess.exit`
   */
  async run(command: readonly string[], options: ProcessOptions = {}): Promise<ProcessResult> {
    const process = await this.exec(command, options);
    const [stdout, stderr, code] = await Promise.all([text(process.stdout), text(process.stderr), process.exit]);
    return { code, stdout, stderr };
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

/** The exit of a process, which a timeout or an `AbortSignal` may kill first. */
async function watched(
  exit: Promise<number>,
  kill: () => void,
  { signal, timeout }: Pick<ProcessOptions, 'signal' | 'timeout'>,
): Promise<number> {
  let timedOut = false;
  const timer =
    timeout === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          kill();
        }, timeout);
  signal?.addEventListener('abort', kill, { once: true });
  if (signal?.aborted) kill();
  try {
    const code = await exit;
    signal?.throwIfAborted();
    if (timedOut) throw new SandboxError('timeout', `the command took longer than ${timeout} ms`);
    return code;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', kill);
  }
}

function toReadable(input: ProcessOptions['stdin']): Readable | undefined {
  if (input === undefined || input instanceof Readable) return input;
  return Readable.from([Buffer.from(input as Uint8Array)]);
}

async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
