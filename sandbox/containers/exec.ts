// Starts another process in a running container. The supervisor passes the request to the agent.
// The streams come straight from the machine, on a vsock port of this process.
import { existsSync } from 'node:fs';
import { unlessAborted } from '../abort.js';
import { type ContainerIo, ProcessIo } from '../agent/process-io.js';
import { CAPABILITIES, type ProcessSpec, type TerminalSize } from '../agent/protocol.js';
import { unresponsive } from '../agent/responsiveness.js';
import { StreamListener } from '../agent/stream-listener.js';
import { defer } from '../deferred.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import type { ContainerConfig } from '../home/container-record.js';
import { portSocket } from '../home/socket-folder.js';
import { randomNumber } from '../random-number.js';
import { ResourceStack } from '../run/resource-stack.js';
import { checkCwd, checkEnvironment, mergeEnvironment } from '../spec/process-spec.js';
import type { Environment } from '../spec/run-spec.js';
import { type Signal, signalNumber } from '../spec/signal-number.js';
import { type ControlClient, openRequest } from '../supervision/control-client.js';

/** The first port to use, above well-known ones. */
const FIRST_PORT = 2 ** 20;
/** The last port to use. */
const LAST_PORT = 2 ** 32 - 2;
const SIGPIPE = 13;
/** Milliseconds that a process has to exit when the reader of its output is gone. */
const PIPE_GRACE = 2_000;

export interface ExecSpec {
  /** At least one argument. */
  command: readonly string[];
  /** Set over the container's variables. null removes a variable. */
  env?: Environment | undefined;
  /** Default: the container's. */
  cwd?: string | undefined;
  /** Default: the container's. */
  user?: string | undefined;
  terminal?: boolean | undefined;
  stdin?: boolean | undefined;
  /** All capabilities. */
  privileged?: boolean | undefined;
}

/** A process that `exec` started. */
export interface Exec {
  /** In the guest's outermost pid namespace. */
  readonly pid: number;
  /**
   * Its exit code, or 128+n if signal n ended it. Resolves when all output has reached the caller.
   */
  readonly exit: Promise<number>;
  readonly outputChunks: number;
  /** @throws SandboxError `bad-spec` */
  signal(signal: Signal): void;
  resize(size: TerminalSize): void;
  /** Closes its streams and stops waiting for it: `exit` rejects. The process may go on. */
  abandon(): void;
}

export interface ExecOptions {
  /** Ends the start: a process that starts all the same is killed. */
  signal?: AbortSignal | undefined;
  /** Milliseconds without a byte from or to the guest, after which `exit` rejects. */
  idleTimeout?: number | undefined;
  /** If true, all other processes of the container are killed once it has exited, before `exit`. */
  killRest?: boolean | undefined;
}

export interface ExecProcessOptions extends Omit<ExecOptions, 'killRest'> {
  /** Called once it has exited. Until that resolves, its output is not at its end. */
  onExited?: (() => Promise<void>) | undefined;
}

/**
 * Starts a process without streams.
 * @throws SandboxError `not-running`, `bad-spec`, `not-found`, `cannot-invoke`, `agent`
 */
export async function execDetached(folder: ContainerFolder, config: ContainerConfig, spec: ExecSpec): Promise<void> {
  using client = await openRequest(folder, { type: 'exec', process: processSpec(config, spec) });
  await expectStarted(client);
}

/**
 * Starts a process with the caller's streams.
 * @throws SandboxError as `execDetached`; the reason of `options.signal`
 */
export function exec(
  folder: ContainerFolder,
  config: ContainerConfig,
  spec: ExecSpec,
  io: ContainerIo,
  options?: ExecProcessOptions,
): Promise<Exec> {
  return execProcess(folder, processSpec(config, spec, io.terminalSize), io, options);
}

/**
 * Starts a process from the spec that the agent takes, with a port of our choice.
 * @throws SandboxError as `exec`
 */
export async function execProcess(
  folder: ContainerFolder,
  described: ProcessSpec,
  io: ContainerIo,
  { signal, ...options }: ExecProcessOptions = {},
): Promise<Exec> {
  const { sockets } = folder;
  if (sockets === undefined || !existsSync(sockets))
    throw new SandboxError('not-running', `container ${folder.shortId} is not running`);
  const port = randomNumber(FIRST_PORT, LAST_PORT);
  const listener = await StreamListener.listen(portSocket(sockets, port));
  let opening: Promise<ControlClient> | undefined;
  try {
    const process = { ...described, port };
    listener.expect(process);
    opening = openRequest(folder, { type: 'exec', process });
    const control = await unlessAborted(opening, signal);
    const unread = defer<number>();
    const streams = new ProcessIo(io, {
      // The process gets EPIPE. If it ignores that, it is left to itself.
      onBrokenPipe: () => setTimeout(() => unread.resolve(128 + SIGPIPE), PIPE_GRACE).unref(),
      onWriteError: () => control[Symbol.dispose](),
    });
    const source = (name: 'stdin' | 'stdout' | 'stderr' | 'terminal') => listener.stream(process.id, name);
    const output = streams.connect(source, {
      terminal: process.terminal !== undefined,
      stdin: process.stdin === true,
    });
    const pid = await unlessAborted(expectStarted(control), signal);
    return {
      pid,
      exit: Promise.race([finish(control, streams, output, options), unread.promise]).finally(() => {
        control[Symbol.dispose]();
        listener[Symbol.dispose]();
      }),
      get outputChunks() {
        return streams.outputChunks;
      },
      signal: (signal) => control.send({ type: 'signal', signal: signalNumber(signal) }),
      resize: (size) => control.send({ type: 'resize', size }),
      abandon: () => {
        control[Symbol.dispose]();
        listener[Symbol.dispose]();
      },
    };
  } catch (error) {
    opening?.then(
      (client) => client[Symbol.dispose](),
      () => {},
    );
    listener[Symbol.dispose]();
    throw error;
  }
}

async function finish(
  client: ControlClient,
  streams: ProcessIo,
  output: Promise<void>,
  { idleTimeout, onExited }: ExecProcessOptions,
): Promise<number> {
  using _client = client;
  using timers = new ResourceStack();
  const own = (timer: Disposable) => timers.add(timer);
  const reply = await (idleTimeout === undefined
    ? client.next()
    : Promise.race([client.next(), streams.idle(idleTimeout, own).then(() => standsStill(idleTimeout))]));
  if (reply?.type !== 'exited') throw new SandboxError('machine-died', 'the container was lost');
  await onExited?.();
  await Promise.race([output, streams.stalled(own)]);
  return reply.code;
}

function standsStill(timeout: number): never {
  throw unresponsive(`has moved no byte in ${timeout / 1000} s`);
}

async function expectStarted(client: ControlClient): Promise<number> {
  const reply = await client.next();
  if (reply?.type !== 'started') throw new SandboxError('not-running', 'the container has ended');
  return reply.pid;
}

function processSpec(config: ContainerConfig, spec: ExecSpec, size?: TerminalSize): ProcessSpec {
  if (spec.command.length === 0) throw new SandboxError('bad-spec', 'no command specified');
  checkCwd(spec.cwd);
  checkEnvironment(spec.env ?? {});
  return {
    id: randomNumber(1, 2 ** 32),
    argv: [...spec.command],
    env: mergeEnvironment(config.env, spec.env),
    cwd: spec.cwd ?? config.cwd,
    user: spec.user ?? config.user,
    terminal: spec.terminal ? (size ?? { columns: 0, rows: 0 }) : undefined,
    stdin: spec.stdin,
    capabilities: spec.privileged ? [...CAPABILITIES] : undefined,
  };
}
