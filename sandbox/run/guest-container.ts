// A container in a guest machine, and the processes in it.
import type { Socket } from 'node:net';
import type { ExitedFrame, ProcessSpec, StreamName, TerminalSize } from '../agent/protocol.js';
import type { AgentSession } from '../agent/session.js';
import { streamNames } from '../agent/stream-listener.js';

const SIGKILL = 9;

/** What a container needs of its machine. */
interface Machine {
  /** Resolves with the result of `promise`; rejects if the machine ends first. */
  whileAlive<T>(promise: Promise<T>): Promise<T>;
}

/** A container in a machine. */
export class GuestContainer {
  readonly #machine: Machine;
  readonly #session: AgentSession;
  readonly #id: number;
  readonly #made: Promise<void>;

  /**
   * Made by `GuestMachine.createContainer`.
   * @param id the agent's name for it
   * @param made resolves when the agent has made it
   */
  constructor(machine: Machine, session: AgentSession, id: number, made: Promise<void>) {
    this.#machine = machine;
    this.#session = session;
    this.#id = id;
    this.#made = made;
  }

  /**
   * Starts a process: the first one is the container's process 1. Its streams arrive at the port
   * that it names, or here. If the container could not be made, `started` of the process rejects
   * with that error.
   * @param options.timeout milliseconds for the guest to answer
   */
  start(process: ProcessSpec, options?: { timeout?: number }): GuestProcess {
    const started = inOrder(this.#made, this.#session.start({ ...process, container: this.#id }, options));
    return new GuestProcess(this.#machine, this.#session, process, started);
  }

  /** A process that runs in it already, in a restored machine. */
  adopt(process: ProcessSpec, pid: number): GuestProcess {
    this.#session.adopt(process);
    return new GuestProcess(this.#machine, this.#session, process, Promise.resolve({ pid }));
  }
}

/**
 * Resolves with `second` after `first`. If both reject, rejects with the error of `first`: it
 * caused the other.
 */
export async function inOrder<T>(first: Promise<void>, second: Promise<T>): Promise<T> {
  second.catch(() => {});
  await first;
  return second;
}

/** A process in a container. */
export class GuestProcess {
  readonly #machine: Machine;
  readonly #session: AgentSession;
  readonly #spec: ProcessSpec;
  readonly #started: Promise<{ pid: number }>;
  readonly #exited: Promise<ExitedFrame>;

  /** Made by {@link GuestContainer.start}. */
  constructor(machine: Machine, session: AgentSession, spec: ProcessSpec, started: Promise<{ pid: number }>) {
    this.#machine = machine;
    this.#session = session;
    this.#spec = spec;
    this.#started = started;
    this.#exited = session.exited(spec.id);
  }

  /** The id that the host gave it. */
  get id(): number {
    return this.#spec.id;
  }

  /**
   * Waits for the start.
   * @returns the process id in the guest's outermost pid namespace
   * @throws SandboxError `not-found`, `cannot-invoke`, `unresponsive`, `agent`; what ended the
   *   machine
   */
  async started(): Promise<number> {
    const { pid } = await this.#machine.whileAlive(this.#started);
    return pid;
  }

  /** Waits for the exit. Streams may still carry the last bytes. @throws what ended the machine */
  exited(): Promise<ExitedFrame> {
    return this.#machine.whileAlive(this.#exited);
  }

  /**
   * The connection of one stream: paused, and half-open, so that each direction ends on its own.
   */
  stream(name: StreamName): Promise<Socket> {
    return this.#session.stream(this.#spec.id, name);
  }

  /** Reads every output stream and discards the bytes. */
  discardOutput(): void {
    for (const name of streamNames(this.#spec)) this.stream(name).then((stream) => stream.resume());
  }

  /** Sends a signal, 1 to 64. Ignored once the process has exited. */
  signal(signal: number): void {
    this.#session.signal(this.#spec.id, signal);
  }

  /** Kills it, with what it has started and what has not left its process group. */
  killGroup(): void {
    this.#session.signal(this.#spec.id, SIGKILL, true);
  }

  /** Sets the size of its terminal. */
  resize({ columns, rows }: TerminalSize): void {
    this.#session.resize(this.#spec.id, columns, rows);
  }

  /** Frees what the session keeps of a process that has exited. */
  forget(): void {
    this.#session.forget(this.#spec.id);
  }
}
