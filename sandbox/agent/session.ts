// The conversation with the guest agent (guest-agent/PROTOCOL.md) over its control connection: the
// first connection of the guest that says hello. The guest is hostile: it may send anything at any
// time.
import type { Socket } from 'node:net';
import { messageOf } from '../../errors/index.js';
import { type Deferred, defer } from '../deferred.js';
import { SandboxError, type SandboxErrorCode } from '../errors.js';
import { pace } from '../paced.js';
import {
  type AgentFrame,
  type ContainerSetup,
  type DoneFrame,
  type ErrorFrame,
  type ExitedFrame,
  encodeFrame,
  type FrameDecoder,
  type HelloFrame,
  type HostFrame,
  type MachineSetup,
  PROTOCOL_VERSION,
  type ProcessSpec,
  type RunningFrame,
  type StartedFrame,
  type StreamFrame,
  type StreamName,
  type ThawRequest,
} from './protocol.js';
import { type RequestOptions, Responsiveness } from './responsiveness.js';
import { StreamListener } from './stream-listener.js';

/** Milliseconds to set a machine up, to make a container and to start its first process. */
export const START_TIMEOUT = 120_000;
/** Bytes of frames that the guest has not read, after which those without an answer are dropped. */
const MAX_UNREAD = 1024 * 1024;
/** Milliseconds to stop all processes, and to write gigabytes of dirty pages out. */
const FREEZE_TIMEOUT = 60_000;
const SIGKILL = 9;

/** What a machine becomes when it is thawed. Empty: what it was. */
export type Thaw = Omit<ThawRequest, 'type' | 'request'>;

type Answer = StartedFrame | DoneFrame;

/** One guest's agent. Owns the listening socket and every connection. */
export class AgentSession implements Disposable {
  readonly #hello = defer<HelloFrame>();
  readonly #lost = defer<never>();
  readonly #running: RunningFrame[] = [];
  readonly #allRunning = defer<readonly RunningFrame[]>();
  #announced = 0;
  readonly #requests = new Map<number, Deferred<Answer>>();
  readonly #responsiveness: Responsiveness;
  readonly #exits = new Map<number, Deferred<ExitedFrame>>();
  #listener!: StreamListener;
  #control: Socket | undefined;
  #lastRequest = 0;

  private constructor(responsiveness: Responsiveness) {
    this.#responsiveness = responsiveness;
  }

  /**
   * Listens for the connections of the guest's agent.
   * @param responsiveness the deadlines of the guest's answers
   * @throws SandboxError `state` if `path` cannot be listened on
   */
  static async listen(path: string, responsiveness = new Responsiveness()): Promise<AgentSession> {
    const session = new AgentSession(responsiveness);
    session.#listener = await StreamListener.listen(path, {
      wants: () => session.#control === undefined,
      adopt: (socket, decoder, hello, more) => session.#adopt(socket, decoder, hello, more),
      // Before hello, only the agent runs in the guest.
      onBroken: (error) => {
        if (session.#control === undefined) session.#lose(`cannot be understood: ${messageOf(error)}`, error);
      },
    });
    return session;
  }

  /** The agent's greeting. */
  get hello(): Promise<HelloFrame> {
    return this.#hello.promise;
  }

  /** Rejects with a SandboxError `agent` when the control connection is lost. Never resolves. */
  get lost(): Promise<never> {
    return this.#lost.promise;
  }

  /** The processes of a restored machine, which the agent lists after its hello. */
  get running(): Promise<readonly RunningFrame[]> {
    return this.#allRunning.promise;
  }

  /**
   * Expects the streams and the exit of a process that runs in a restored machine. Must be called
   * before `thaw`, on which the agent connects the streams.
   */
  adopt(process: Pick<ProcessSpec, 'id' | 'terminal' | 'stdin' | 'port'>): void {
    if (process.port === undefined) this.#listener.expect(process);
    this.#exits.set(process.id, defer());
  }

  /**
   * Stops all processes of all containers, and writes the disks out.
   * @throws SandboxError `agent` if one does not stop in time, `unresponsive`: all run on
   */
  async freeze(): Promise<void> {
    await this.#request((request) => ({ type: 'freeze', request }), {
      timeout: FREEZE_TIMEOUT,
      // Nothing waits for a machine that froze too late.
      onLate: () => this.#send({ type: 'thaw', request: this.#nextRequest() }),
    });
  }

  /**
   * Makes a frozen machine what `thaw` says, and then lets its processes run.
   * @throws SandboxError `agent` if a step fails. Nothing runs then, and the machine must be ended
   */
  async thaw(thaw: Thaw): Promise<void> {
    await this.#request((request) => ({ ...thaw, type: 'thaw', request }));
  }

  /**
   * Sets the machine up. Must be called once, before the first container.
   * @throws SandboxError `agent` if the guest refuses
   */
  async setUp(machine: MachineSetup): Promise<void> {
    await this.#request((request) => ({ ...machine, type: 'machine', request }), { timeout: START_TIMEOUT });
  }

  /**
   * Makes a container without a process. Need not wait for `setUp`: the agent takes requests in
   * order.
   * @throws SandboxError `bad-spec` if the request cannot be encoded, `agent` if the guest refuses
   */
  async create(container: ContainerSetup): Promise<void> {
    await this.#request((request) => ({ ...container, type: 'container', request }), { timeout: START_TIMEOUT });
  }

  /**
   * Starts a process in a container. The first one is its process 1, with which the container ends.
   * Need not wait for `create`. The process's streams arrive here unless it names its own port.
   * @throws SandboxError `not-found`, `cannot-invoke`, `bad-spec`, `unresponsive`, or `agent` for
   *   any other refusal
   */
  async start(
    process: ProcessSpec & { container: number },
    { timeout }: { timeout?: number } = {},
  ): Promise<StartedFrame> {
    const { id } = process;
    if (process.port === undefined) this.#listener.expect(process);
    this.#exits.set(id, defer());
    try {
      const answer = await this.#request((request) => ({ ...process, type: 'process', request }), {
        timeout,
        // Nothing waits for a process that started too late.
        onLate: ({ type }) => type === 'started' && this.signal(id, SIGKILL),
      });
      if (answer.type !== 'started')
        throw new SandboxError('agent', `the guest agent answered a start with '${answer.type}'`);
      return answer;
    } catch (error) {
      this.forget(id);
      throw error;
    }
  }

  /**
   * Removes a container that has ended or never had a process, and frees its id.
   * @throws SandboxError `agent` if a process runs in it
   */
  async remove(container: number): Promise<void> {
    await this.#request((request) => ({ type: 'remove', request, container }));
  }

  /** Sends a request before it returns. Resolves with the answer. */
  #request(frame: (request: number) => HostFrame, options?: RequestOptions<Answer>): Promise<Answer> {
    return this.#responsiveness.inTime(() => this.#ask(frame), options);
  }

  async #ask(frame: (request: number) => HostFrame): Promise<Answer> {
    const request = this.#nextRequest();
    const answer = defer<Answer>();
    this.#requests.set(request, answer);
    try {
      this.#send(frame(request));
    } catch (cause) {
      this.#requests.delete(request);
      const message = `the container cannot be described to the guest: ${messageOf(cause)}`;
      throw new SandboxError('bad-spec', message, { cause });
    }
    return answer.promise;
  }

  /** The connection of a process's stream. It is paused, and each direction ends on its own. */
  stream(process: number, name: StreamName): Promise<Socket> {
    return this.#listener.stream(process, name);
  }

  /** Resolves when the process has ended. Its streams may still carry its last bytes. */
  exited(process: number): Promise<ExitedFrame> {
    const exit = this.#exits.get(process);
    if (exit === undefined) throw new Error(`process ${process} was not started`);
    return exit.promise;
  }

  /** Frees the state of a process that has ended. */
  forget(process: number): void {
    this.#exits.delete(process);
    this.#listener.forget(process);
  }

  /**
   * Sends a signal, 1 to 64, to a process. Ignored if the process is gone.
   * @param isForGroup to all processes of its group, which are those that it has started and that
   *   have not left the group
   */
  signal(process: number, signal: number, isForGroup = false): void {
    const group = isForGroup && { group: true };
    this.#notify({ type: 'signal', request: this.#nextRequest(), process, signal, ...group });
  }

  /** Sets the size of a process's terminal. */
  resize(process: number, columns: number, rows: number): void {
    this.#notify({ type: 'resize', request: this.#nextRequest(), process, columns, rows });
  }

  /** Asks the agent to write the disks out and to stop the machine. */
  shutdown(): void {
    this.#send({ type: 'shutdown', request: this.#nextRequest() });
  }

  [Symbol.dispose](): void {
    this.#responsiveness[Symbol.dispose]();
    this.#listener[Symbol.dispose]();
  }

  /** Returns the next number that no pending request has. */
  #nextRequest(): number {
    do this.#lastRequest = (this.#lastRequest % 0xffff) + 1;
    while (this.#requests.has(this.#lastRequest));
    return this.#lastRequest;
  }

  /** Sends a frame without an answer. Dropped if the guest has not read those before it. */
  #notify(frame: HostFrame): void {
    if ((this.#control?.writableLength ?? 0) < MAX_UNREAD) this.#send(frame);
  }

  /** Sends a frame, in one piece with others of the same tick: each piece interrupts the guest. */
  #send(frame: HostFrame): void {
    const bytes = encodeFrame(frame);
    const control = this.#control;
    control?.cork();
    control?.write(bytes);
    process.nextTick(() => control?.uncork());
  }

  #adopt(socket: Socket, decoder: FrameDecoder, hello: HelloFrame, more: AgentFrame[]): void {
    this.#control = socket;
    const lose = (why: string, cause?: unknown) => {
      this.#lose(why, cause);
      socket.destroy();
    };
    if (hello.protocol !== PROTOCOL_VERSION) {
      lose(`speaks protocol version ${hello.protocol}, not ${PROTOCOL_VERSION}: build it again`);
      return;
    }
    const handle = (frames: AgentFrame[]) => {
      for (const frame of frames) {
        if (frame.type === 'hello' || frame.type === 'stream') {
          return lose(`sent a '${frame.type}' frame on the control connection`);
        }
        this.#handle(frame);
      }
    };
    pace(socket);
    socket.on('data', (chunk: Buffer) => {
      try {
        handle(decoder.push(chunk));
      } catch (error) {
        lose(`cannot be understood: ${messageOf(error)}`, error);
      }
    });
    socket.once('end', () => lose('closed the control connection'));
    socket.once('close', () => lose('closed the control connection'));
    this.#announced = hello.frozen ? (hello.processes ?? 0) : 0;
    if (this.#announced === 0) this.#allRunning.resolve([]);
    this.#hello.resolve(hello);
    handle(more);
  }

  #lose(why: string, cause?: unknown): void {
    this.#lost.reject(new SandboxError('agent', `the guest agent ${why}`, { cause }));
  }

  /** Ignores what the agent did not announce. */
  #addRunning(frame: RunningFrame): void {
    if (this.#running.length === this.#announced) return;
    this.#running.push(frame);
    if (this.#running.length === this.#announced) this.#allRunning.resolve(this.#running);
  }

  #handle(frame: Exclude<AgentFrame, HelloFrame | StreamFrame>): void {
    switch (frame.type) {
      case 'started':
      case 'done':
        this.#requests.get(frame.request)?.resolve(frame);
        this.#requests.delete(frame.request);
        return;
      case 'error':
        this.#requests.get(frame.request)?.reject(toSandboxError(frame));
        this.#requests.delete(frame.request);
        return;
      case 'running':
        this.#addRunning(frame);
        return;
      case 'exited':
        this.#exits.get(frame.process)?.resolve(frame);
    }
  }
}

/** The errors of the caller. All others are the agent's. */
const CALLER_CODES: Partial<Record<ErrorFrame['kind'], SandboxErrorCode>> = {
  'not-found': 'not-found',
  'cannot-invoke': 'cannot-invoke',
  'no-such-user': 'bad-spec',
};

function toSandboxError({ kind, message }: ErrorFrame): SandboxError {
  const code = CALLER_CODES[kind] ?? 'agent';
  // The message is the guest's, and is shown on a terminal.
  return new SandboxError(code, message.replace(/[^\x20-\x7e\u00a0-\uffff]+/g, ' '));
}
