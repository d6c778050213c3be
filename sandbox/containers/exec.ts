// Starts another process in a running container. The supervisor passes the request to the agent.
// The streams come straight from the machine, on a vsock port of this process.
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type ContainerIo, ProcessIo } from '../agent/process-io.js';
import { CAPABILITIES, type ProcessSpec, type TerminalSize } from '../agent/protocol.js';
import { StreamListener } from '../agent/stream-listener.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import type { ContainerConfig } from '../home/container-record.js';
import { portSocket } from '../home/socket-folder.js';
import { checkCwd, checkEnvironment, mergeEnvironment } from '../spec/process-spec.js';
import type { Environment } from '../spec/run-spec.js';
import { type Signal, signalNumber } from '../spec/signal-number.js';
import { type ControlClient, openRequest } from '../supervision/control-client.js';

/** The first port to use, above well-known ones. */
const FIRST_PORT = 2 ** 20;
/** The last port to use. `randomInt` is limited to 2^48, a port to 2^32. */
const LAST_PORT = 2 ** 32 - 2;

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
}

/**
 * Starts a process without streams.
 * @throws SandboxError `not-running`, `bad-spec`, `not-found`, `cannot-invoke`, `agent`
 */
export async function execDetached(folder: ContainerFolder, config: ContainerConfig, spec: ExecSpec): Promise<void> {
  using client = await openRequest(folder, { type: 'exec', process: processSpec(config, spec) });
  await expectStarted(client);
}

/** Starts a process with the caller's streams. @throws SandboxError as `execDetached` */
export function exec(folder: ContainerFolder, config: ContainerConfig, spec: ExecSpec, io: ContainerIo): Promise<Exec> {
  return execProcess(folder, processSpec(config, spec, io.terminalSize), io);
}

/**
 * Starts a process from the spec that the agent takes, with a port of our choice.
 * @throws SandboxError as `execDetached`
 */
export async function execProcess(folder: ContainerFolder, described: ProcessSpec, io: ContainerIo): Promise<Exec> {
  const { sockets } = folder;
  if (sockets === undefined || !existsSync(sockets))
    throw new SandboxError('not-running', `container ${folder.shortId} is not running`);
  const port = randomInt(FIRST_PORT, LAST_PORT);
  const listener = await StreamListener.listen(portSocket(sockets, port));
  let client: ControlClient | undefined;
  try {
    const process = { ...described, port };
    listener.expect(process);
    client = await openRequest(folder, { type: 'exec', process });
    const control = client;
    const streams = new ProcessIo(io, {
      onBrokenPipe: () => {},
      onWriteError: () => control[Symbol.dispose](),
    });
    const source = (name: 'stdin' | 'stdout' | 'stderr' | 'terminal') => listener.stream(process.id, name);
    const output = streams.connect(source, {
      terminal: process.terminal !== undefined,
      stdin: process.stdin === true,
    });
    const pid = await expectStarted(client);
    return {
      pid,
      exit: finish(control, streams, output).finally(() => listener[Symbol.dispose]()),
      get outputChunks() {
        return streams.outputChunks;
      },
      signal: (signal) => control.send({ type: 'signal', signal: signalNumber(signal) }),
      resize: (size) => control.send({ type: 'resize', size }),
    };
  } catch (error) {
    client?.[Symbol.dispose]();
    listener[Symbol.dispose]();
    throw error;
  }
}

async function finish(client: ControlClient, streams: ProcessIo, output: Promise<void>): Promise<number> {
  using _client = client;
  const reply = await client.next();
  if (reply?.type !== 'exited') throw new SandboxError('machine-died', 'the container was lost');
  let timer: Disposable | undefined;
  const stalled = streams.stalled((started) => {
    timer = started;
  });
  await Promise.race([output, stalled]);
  timer?.[Symbol.dispose]();
  return reply.code;
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
    id: randomInt(1, 2 ** 32),
    argv: [...spec.command],
    env: mergeEnvironment(config.env, spec.env),
    cwd: spec.cwd ?? config.cwd,
    user: spec.user ?? config.user,
    terminal: spec.terminal ? (size ?? { columns: 0, rows: 0 }) : undefined,
    stdin: spec.stdin,
    capabilities: spec.privileged ? [...CAPABILITIES] : undefined,
  };
}
