// Commands that run in sandboxes while their callers come and go: each has a number, its output goes to
// all who follow it, and its input may come bit by bit. This server knows those that it started.
import { PassThrough, type Readable, Writable } from 'node:stream';
import { within } from '../../deadline/index.js';
import { hasCode } from '../../errors/index.js';
import type { Exec, Signal, TerminalSize } from '../../sandbox/index.js';
import { ServiceError } from '../errors.js';
import type { Tenant } from '../records.js';
import { Broadcast, hand } from './broadcast.js';
import { START_TIMEOUT } from './command.js';
import type { Places } from './places.js';
import type { Sandboxes } from './sandboxes.js';

/** Bytes of input that wait for the program. */
const MAX_INPUT = 2 ** 20;
/** Milliseconds that a killed command has to exit. */
const KILL_GRACE = 2_000;
const SIGKILL = 9;

export interface RunningSpec {
  command: string[];
  env: Record<string, string>;
  cwd?: string | undefined;
  user?: string | undefined;
  /** True if it has an input, which stays open until `closeInput`. */
  stdin: boolean;
  /** The size of its terminal, whose output is `stdout`. Absent: it has none. */
  terminal?: TerminalSize | undefined;
  /**
   * Milliseconds from its begin after which it is killed. Absent: it runs as long as the sandbox.
   */
  timeout?: number | undefined;
}

export type CommandEvent =
  | { name: 'stdout' | 'stderr'; data: Buffer }
  /** `exitCode` is 128+n if signal n ended it. `timedOut`: it was killed for its timeout. */
  | { name: 'end'; exitCode: number; timedOut: boolean };

/** What follows a command. It breaks off with a ServiceError if the command was not seen to its end. */
export type CommandEvents = Readable & AsyncIterable<CommandEvent>;

/** A command that has begun. */
export class RunningCommand {
  readonly spec: RunningSpec;
  readonly #exec: Exec;
  readonly #input: PassThrough | undefined;
  readonly #events: Broadcast<CommandEvent>;
  #grace: NodeJS.Timeout | undefined;

  constructor(spec: RunningSpec, exec: Exec, input: PassThrough | undefined, events: Broadcast<CommandEvent>) {
    this.spec = spec;
    this.#exec = exec;
    this.#input = input;
    this.#events = events;
  }

  /** Its number: that of its process in the machine. */
  get pid(): number {
    return this.#exec.pid;
  }

  /** Its output from now on, and its end. */
  follow(): CommandEvents {
    return this.#events.join();
  }

  /**
   * Adds to its input. Resolves when the program or a buffer has room for more.
   * @throws ServiceError `bad-request` if it has none, or it is closed; `quota` if too much waits
   */
  async write(data: Uint8Array): Promise<void> {
    const input = this.#input;
    if (input === undefined || input.writableEnded) throw new ServiceError('bad-request', 'the command has no input');
    if (input.writableLength + data.length > MAX_INPUT) {
      throw new ServiceError('quota', `${MAX_INPUT} bytes of input wait for the command`);
    }
    await hand(input, data);
  }

  closeInput(): void {
    this.#input?.end();
  }

  /** @throws ServiceError `bad-request` */
  signal(signal: Signal): void {
    try {
      this.#exec.signal(signal);
    } catch (error) {
      if (!hasCode(error, 'bad-spec')) throw error;
      throw new ServiceError('bad-request', `no signal ${JSON.stringify(signal)}`, { cause: error });
    }
  }

  /** Does nothing to one without a terminal. */
  resize(size: TerminalSize): void {
    if (this.spec.terminal !== undefined) this.#exec.resize(size);
  }

  /** Kills it. One that is not seen to exit in time is followed no more. */
  kill(): void {
    this.#exec.signal(SIGKILL);
    this.#grace ??= setTimeout(() => this.#exec.abandon(), KILL_GRACE);
  }

  /** Closes its streams. It may go on. */
  abandon(): void {
    clearTimeout(this.#grace);
    this.#exec.abandon();
  }
}

export class Commands {
  readonly #sandboxes: Sandboxes;
  readonly #places: Places;
  /** By the ID of their sandbox, and by number. */
  readonly #running = new Map<string, Map<number, RunningCommand>>();
  readonly #all = new Set<RunningCommand>();

  constructor(sandboxes: Sandboxes, places: Places) {
    this.#sandboxes = sandboxes;
    this.#places = places;
  }

  /**
   * Starts a command, which goes on without readers. It counts as one of the tenant's places until
   * it has ended.
   * @param signal ends the start
   * @throws ServiceError
   */
  async start(
    tenant: Tenant,
    id: string,
    spec: RunningSpec,
    signal: AbortSignal,
  ): Promise<{ command: RunningCommand; events: CommandEvents }> {
    const use = await this.#sandboxes.occupy(tenant, id);
    const broadcast = new Broadcast<CommandEvent>();
    const events = broadcast.join();
    const input = spec.stdin ? new PassThrough() : undefined;
    const limit = within(START_TIMEOUT, signal);
    try {
      const exec = await use.container.exec(
        { ...spec, terminal: spec.terminal !== undefined },
        {
          ...{ stdin: input, stdout: outputOf('stdout', broadcast), stderr: outputOf('stderr', broadcast) },
          terminalSize: spec.terminal,
        },
        { signal: limit },
      );
      const command = new RunningCommand(spec, exec, input, broadcast);
      const forget = this.#remember(id, command);
      this.#finish(command, exec.exit, broadcast, forget).finally(() => {
        input?.destroy();
        use[Symbol.dispose]();
      });
      return { command, events };
    } catch (error) {
      events.destroy();
      use[Symbol.dispose]();
      throw this.#sandboxes.tell(error, 'the command failed');
    }
  }

  /** Those that run in a sandbox. @throws ServiceError `not-found`, `not-running` */
  async list(tenant: Tenant, id: string): Promise<RunningCommand[]> {
    using _use = await this.#sandboxes.use(tenant, id);
    return [...(this.#running.get(id)?.values() ?? [])];
  }

  /** @throws ServiceError `not-found`, `not-running` */
  async find(tenant: Tenant, id: string, pid: number): Promise<RunningCommand> {
    using _use = await this.#sandboxes.use(tenant, id);
    const command = this.#running.get(id)?.get(pid);
    if (command === undefined) throw new ServiceError('not-found', `no command ${pid} runs`);
    return command;
  }

  /**
   * Follows a command. Its reader is one of the tenant's places until it is closed.
   * @throws ServiceError `not-found`, `not-running`, `quota`
   */
  async follow(tenant: Tenant, id: string, pid: number): Promise<{ command: RunningCommand; events: CommandEvents }> {
    const command = await this.find(tenant, id, pid);
    const place = this.#places.take(tenant);
    const events = command.follow();
    events.once('close', () => place[Symbol.dispose]());
    return { command, events };
  }

  /** Follows none any more. They go on without a reader of their output. */
  close(): void {
    for (const command of this.#all) command.abandon();
  }

  #remember(id: string, command: RunningCommand): () => void {
    const own = this.#running.get(id) ?? new Map<number, RunningCommand>();
    this.#running.set(id, own);
    own.set(command.pid, command);
    this.#all.add(command);
    return () => {
      this.#all.delete(command);
      if (own.get(command.pid) === command) own.delete(command.pid);
      if (own.size === 0 && this.#running.get(id) === own) this.#running.delete(id);
    };
  }

  /**
   * Sees a command to its end, and tells its readers.
   * @param forget called before: who comes when its end is told would not get it
   */
  async #finish(
    command: RunningCommand,
    exit: Promise<number>,
    events: Broadcast<CommandEvent>,
    forget: () => void,
  ): Promise<void> {
    const { timeout } = command.spec;
    let isLate = false;
    const kill = () => {
      isLate = true;
      command.kill();
    };
    const timer = timeout === undefined ? undefined : setTimeout(kill, Math.min(timeout, 2 ** 31 - 1));
    try {
      const exitCode = await exit.catch((error: unknown) => {
        if (isLate) return 128 + SIGKILL;
        throw error;
      });
      clearTimeout(timer);
      forget();
      await events.send({ name: 'end', exitCode, timedOut: isLate });
      events.end();
    } catch (error) {
      forget();
      events.fail(this.#sandboxes.tell(error, 'the command failed'));
    } finally {
      clearTimeout(timer);
      command.abandon();
    }
  }
}

function outputOf(name: 'stdout' | 'stderr', events: Broadcast<CommandEvent>): Writable {
  return new Writable({
    write: (data: Buffer, _encoding, done) => {
      events.send({ name, data }).then(() => done(), done);
    },
  });
}
