// The conversation with the guest agent (guest-agent/PROTOCOL.md). Every connection of the guest to the agent port
// arrives here: the first that says hello is the control connection, every other is a stream that was asked for, or is
// refused. The guest is hostile, and so may be any of these connections at any moment.
import { createServer, type Server, type Socket } from 'node:net';
import {
  type AgentFrame,
  type ErrorFrame,
  type ExitedFrame,
  encodeFrame,
  FrameDecoder,
  type HelloFrame,
  type HostFrame,
  PROTOCOL_VERSION,
  type ProcessSpec,
  type StartedFrame,
  type StartRequest,
  type StreamFrame,
  type StreamName,
} from './agent-protocol.js';
import { SandboxError, type SandboxErrorCode } from './errors.js';

/** Connections at once: the control connection, streams, and a few that have not said yet what they are. */
const MAX_CONNECTIONS = 64;
/** Milliseconds in which a connection says what it is. */
const FIRST_FRAME_TIMEOUT = 10_000;

interface Deferred<T> {
  promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

function defer<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((resolvePromise, rejectPromise) => {
    resolve = resolvePromise;
    reject = rejectPromise;
  });
  // Whoever waits is told; that nobody waits yet is no accident.
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/** One guest's agent. Owns the listening socket and every connection. */
export class AgentSession implements Disposable {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #hello = defer<HelloFrame>();
  readonly #lost = defer<never>();
  readonly #requests = new Map<number, Deferred<StartedFrame>>();
  readonly #exits = new Map<number, Deferred<ExitedFrame>>();
  readonly #streams = new Map<string, Promise<Socket>>();
  /** Streams that have not arrived yet. */
  readonly #awaited = new Map<string, Deferred<Socket>>();
  #control: Socket | undefined;
  #lastRequest = 0;

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /**
   * Listens for the guest's agent.
   * @throws SandboxError `state` if `path` cannot be listened on
   */
  static listen(path: string): Promise<AgentSession> {
    const session = new AgentSession();
    return new Promise((resolve, reject) => {
      session.#server.on('error', (cause) => {
        reject(new SandboxError('state', `cannot listen on ${path}: ${cause.message}`, { cause }));
      });
      session.#server.listen(path, () => resolve(session));
    });
  }

  /** The agent's greeting. */
  get hello(): Promise<HelloFrame> {
    return this.#hello.promise;
  }

  /** Rejects with a SandboxError `agent` once the control connection is lost or broken. Never resolves. */
  get lost(): Promise<never> {
    return this.#lost.promise;
  }

  /**
   * Sets the container up and starts its first process.
   * @throws SandboxError `not-found`, `cannot-invoke`, or `agent` for any other refusal
   */
  start(request: Omit<StartRequest, 'type' | 'request'>): Promise<StartedFrame> {
    const { id } = request.process;
    for (const name of streamNames(request.process)) {
      const stream = defer<Socket>();
      this.#streams.set(streamKey(id, name), stream.promise);
      this.#awaited.set(streamKey(id, name), stream);
    }
    this.#exits.set(id, defer());
    const started = defer<StartedFrame>();
    const frame: StartRequest = { ...request, type: 'start', request: this.#nextRequest() };
    this.#requests.set(frame.request, started);
    try {
      this.#send(frame);
    } catch (cause) {
      throw new SandboxError(
        'bad-spec',
        `the container cannot be described to the guest: ${(cause as Error).message}`,
        {
          cause,
        },
      );
    }
    return started.promise;
  }

  /** The connection of a stream that `start` asked for; paused, and half-open: its two directions end apart. */
  stream(process: number, name: StreamName): Promise<Socket> {
    return this.#streams.get(streamKey(process, name))!;
  }

  /** How a process ended. Its streams may still carry its last bytes. */
  exited(process: number): Promise<ExitedFrame> {
    return this.#exits.get(process)!.promise;
  }

  /** Sends a signal, 1 to 64, to a process; one that is gone is not an error. */
  signal(process: number, signal: number): void {
    this.#send({ type: 'signal', request: this.#nextRequest(), process, signal });
  }

  /** Tells a process's terminal its size. */
  resize(process: number, columns: number, rows: number): void {
    this.#send({ type: 'resize', request: this.#nextRequest(), process, columns, rows });
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #nextRequest(): number {
    this.#lastRequest = (this.#lastRequest % 0xffff) + 1;
    return this.#lastRequest;
  }

  #send(frame: HostFrame): void {
    this.#control?.write(encodeFrame(frame));
  }

  #accept(socket: Socket): void {
    this.#connections.add(socket);
    // 'close' follows, and is what counts.
    socket.on('error', () => {});
    socket.once('close', () => this.#connections.delete(socket));
    const decoder = new FrameDecoder();
    const timer = setTimeout(() => socket.destroy(), FIRST_FRAME_TIMEOUT);
    const identify = (chunk: Buffer) => {
      let frames: AgentFrame[];
      try {
        frames = decoder.push(chunk);
      } catch (error) {
        // Before hello nothing runs in the guest but the agent.
        if (this.#control === undefined) this.#lose(`cannot be understood: ${(error as Error).message}`, error);
        return socket.destroy();
      }
      if (frames.length === 0) return;
      clearTimeout(timer);
      socket.off('data', identify).off('end', refuse);
      const [first, ...more] = frames;
      if (first.type === 'hello' && this.#control === undefined) this.#adopt(socket, decoder, first, more);
      else if (first.type === 'stream') this.#attach(socket, decoder, first);
      else socket.destroy();
    };
    const refuse = () => socket.destroy();
    socket.on('data', identify).once('end', refuse);
    socket.once('close', () => clearTimeout(timer));
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
    socket.on('data', (chunk: Buffer) => {
      try {
        handle(decoder.push(chunk));
      } catch (error) {
        lose(`cannot be understood: ${(error as Error).message}`, error);
      }
    });
    socket.once('end', () => lose('closed the control connection'));
    socket.once('close', () => lose('closed the control connection'));
    this.#hello.resolve(hello);
    handle(more);
  }

  #lose(why: string, cause?: unknown): void {
    this.#lost.reject(new SandboxError('agent', `the guest agent ${why}`, { cause }));
  }

  #attach(socket: Socket, decoder: FrameDecoder, { process, stream }: StreamFrame): void {
    const key = streamKey(process, stream);
    const wanted = this.#awaited.get(key);
    if (wanted === undefined) {
      socket.destroy();
      return;
    }
    this.#awaited.delete(key);
    socket.pause();
    if (decoder.rest.length > 0) socket.unshift(decoder.rest);
    wanted.resolve(socket);
  }

  #handle(frame: Exclude<AgentFrame, HelloFrame | StreamFrame>): void {
    switch (frame.type) {
      case 'started':
        this.#requests.get(frame.request)?.resolve(frame);
        this.#requests.delete(frame.request);
        return;
      case 'error':
        this.#requests.get(frame.request)?.reject(toSandboxError(frame));
        this.#requests.delete(frame.request);
        return;
      case 'exited':
        this.#exits.get(frame.process)?.resolve(frame);
    }
  }
}

/** The streams that a process has. */
export function streamNames({ terminal, stdin }: Pick<ProcessSpec, 'terminal' | 'stdin'>): StreamName[] {
  if (terminal) return ['terminal'];
  return stdin ? ['stdin', 'stdout', 'stderr'] : ['stdout', 'stderr'];
}

function streamKey(process: number, name: StreamName): string {
  return `${process} ${name}`;
}

function toSandboxError({ kind, message }: ErrorFrame): SandboxError {
  const code: SandboxErrorCode = kind === 'not-found' || kind === 'cannot-invoke' ? kind : 'agent';
  // The guest wrote it, and it is shown on a terminal.
  return new SandboxError(code, message.replace(/[^\x20-\x7e\u00a0-\uffff]+/g, ' '));
}
