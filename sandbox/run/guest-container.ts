// A container in a guest machine, and the processes in it.
import type { Socket } from 'node:net';
import type { ExitedFrame, ProcessSpec, StartRequest, StreamName, TerminalSize } from '../agent/protocol.js';
import type { AgentSession } from '../agent/session.js';
import { streamNames } from '../agent/stream-listener.js';

/** What the agent is told of a container besides its first process. */
export type ContainerRequest = Omit<StartRequest, 'type' | 'request' | 'clock' | 'process'>;

/** The machine, as far as its containers depend on it. */
interface Machine {
  /** Resolves with the result of `promise`; rejects when the machine ends before. */
  whileAlive<T>(promise: Promise<T>): Promise<T>;
}

/** A container in a machine. */
export class GuestContainer {
  readonly #machine: Machine;
  readonly #session: AgentSession;
  #state: { name: 'described'; request: ContainerRequest } | { name: 'made' };

  /** Made by `GuestMachine.createContainer`. */
  constructor(machine: Machine, session: AgentSession, request: ContainerRequest) {
    this.#machine = machine;
    this.#session = session;
    this.#state = { name: 'described', request };
  }

  /**
   * Starts a process: the first one with the container itself, others beside it. Its streams arrive at the port that
   * it names, or here.
   * @throws SandboxError `bad-spec` if the request cannot be encoded
   */
  start(process: ProcessSpec): GuestProcess {
    const state = this.#state;
    this.#state = { name: 'made' };
    const started =
      state.name === 'described'
        ? this.#session.start({ ...state.request, clock: Date.now() * 1000, process })
        : this.#session.exec(process);
    return new GuestProcess(this.#machine, this.#session, process, started);
  }
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

  /**
   * Waits for the start.
   * @returns the process id in the guest's outermost pid namespace
   * @throws SandboxError `not-found`, `cannot-invoke`, `agent`; what ended the machine
   */
  async started(): Promise<number> {
    const { pid } = await this.#machine.whileAlive(this.#started);
    return pid;
  }

  /** Waits for the end. Streams may still carry the last bytes. @throws what ended the machine */
  exited(): Promise<ExitedFrame> {
    return this.#machine.whileAlive(this.#exited);
  }

  /** The connection of one stream; paused, and half-open: its two directions end apart. */
  stream(name: StreamName): Promise<Socket> {
    return this.#session.stream(this.#spec.id, name);
  }

  /** Reads every stream and drops what comes. */
  discardOutput(): void {
    for (const name of streamNames(this.#spec)) this.stream(name).then((stream) => stream.resume());
  }

  /** Sends a signal, 1 to 64; ignored once the process is gone. */
  signal(signal: number): void {
    this.#session.signal(this.#spec.id, signal);
  }

  /** Tells its terminal its size. */
  resize({ columns, rows }: TerminalSize): void {
    this.#session.resize(this.#spec.id, columns, rows);
  }

  /** Drops what the session keeps of a process that has ended. */
  forget(): void {
    this.#session.forget(this.#spec.id);
  }
}
