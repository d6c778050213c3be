// Accepts the guest's connections (guest-agent/PROTOCOL.md). The first frame of a connection says
// what it is for; one that is not expected is closed. The guest is hostile: any connection may be
// malicious at any moment.
import { createServer, type Server, type Socket } from 'node:net';
import { type Deferred, defer } from '../deferred.js';
import { SandboxError } from '../errors.js';
import { SilentConnections } from '../silent-connections.js';
import {
  type AgentFrame,
  FrameDecoder,
  type HelloFrame,
  type ProcessSpec,
  type StreamFrame,
  type StreamName,
} from './protocol.js';

/** The most connections at once: two or three for each of the agent's 256 processes. */
const MAX_CONNECTIONS = 1024;
/** The most connections that have not sent their first frame. */
const MAX_SILENT = 32;

/** Takes the control connection, on the one listener that expects it. */
export interface ControlTaker {
  /** Returns true until there is a control connection. */
  wants(): boolean;
  adopt(socket: Socket, decoder: FrameDecoder, hello: HelloFrame, more: AgentFrame[]): void;
  /** Called when a connection breaks the protocol. */
  onBroken(error: unknown): void;
}

/** Owns the listening socket and every connection. */
export class StreamListener implements Disposable {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #silent = new SilentConnections(MAX_SILENT);
  readonly #streams = new Map<string, Promise<Socket>>();
  /** Streams that have not arrived yet. */
  readonly #awaited = new Map<string, Deferred<Socket>>();
  readonly #control: ControlTaker | undefined;

  private constructor(control: ControlTaker | undefined) {
    this.#control = control;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** @throws SandboxError `state` if `path` cannot be listened on */
  static listen(path: string, control?: ControlTaker): Promise<StreamListener> {
    const listener = new StreamListener(control);
    return new Promise((resolve, reject) => {
      listener.#server.on('error', (cause) => {
        reject(new SandboxError('state', `cannot listen on ${path}: ${cause.message}`, { cause }));
      });
      listener.#server.listen(path, () => resolve(listener));
    });
  }

  /** Expects the streams of this process from now on. */
  expect(process: Pick<ProcessSpec, 'id' | 'terminal' | 'stdin'>): void {
    for (const name of streamNames(process)) {
      const stream = defer<Socket>();
      this.#streams.set(streamKey(process.id, name), stream.promise);
      this.#awaited.set(streamKey(process.id, name), stream);
    }
  }

  /**
   * The connection of an expected stream: paused, and half-open, so that each direction ends on its
   * own.
   */
  stream(process: number, name: StreamName): Promise<Socket> {
    const stream = this.#streams.get(streamKey(process, name));
    if (stream === undefined) throw new RangeError(`${name} of process ${process} is not expected`);
    return stream;
  }

  /** Stops expecting the streams of a process that has exited or was never started. */
  forget(process: number): void {
    for (const name of ['stdin', 'stdout', 'stderr', 'terminal'] as const) {
      this.#streams.delete(streamKey(process, name));
      this.#awaited.delete(streamKey(process, name));
    }
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #accept(socket: Socket): void {
    this.#connections.add(socket);
    // 'close' follows, and is handled.
    socket.on('error', () => {});
    socket.once('close', () => this.#connections.delete(socket));
    const decoder = new FrameDecoder();
    this.#silent.add(socket);
    const identify = (chunk: Buffer) => {
      let frames: AgentFrame[];
      try {
        frames = decoder.push(chunk);
      } catch (error) {
        this.#control?.onBroken(error);
        return socket.destroy();
      }
      const [first, ...more] = frames;
      if (first === undefined) return;
      this.#silent.delete(socket);
      socket.off('data', identify).off('end', refuse);
      if (first.type === 'hello' && this.#control?.wants()) this.#control.adopt(socket, decoder, first, more);
      else if (first.type === 'stream') this.#attach(socket, decoder, first);
      else socket.destroy();
    };
    const refuse = () => socket.destroy();
    socket.on('data', identify).once('end', refuse);
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
}

/** The streams that a process has. */
export function streamNames({ terminal, stdin }: Pick<ProcessSpec, 'terminal' | 'stdin'>): StreamName[] {
  if (terminal) return ['terminal'];
  return stdin ? ['stdin', 'stdout', 'stderr'] : ['stdout', 'stderr'];
}

function streamKey(process: number, name: StreamName): string {
  return `${process} ${name}`;
}
