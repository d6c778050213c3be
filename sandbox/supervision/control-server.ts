// The server of the control socket.
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { messageOf } from '../../errors/index.js';
import type { ProcessSpec } from '../agent/protocol.js';
import { defined } from '../defined.js';
import { SandboxError } from '../errors.js';
import type { ContainerRun, StartedProcess } from '../run/container-run.js';
import { SilentConnections } from '../silent-connections.js';
import {
  type AttachedStream,
  type ControlReply,
  type ControlRequest,
  type ControlUpdate,
  type RollbackFiles,
  readMessages,
  type SnapshotFiles,
  sendLine,
  toReply,
} from './control-protocol.js';
import type { OutputFanOut } from './output-fan-out.js';

/** The supervision that the socket gives access to. */
export interface Controlled {
  readonly terminal: boolean;
  readonly stdout: OutputFanOut;
  readonly stderr: OutputFanOut;
  /** Gets the input of attached clients. Undefined if the process does not read it. */
  readonly stdin: Writable | undefined;
  /** The current run, if any. */
  run(): ContainerRun | undefined;
  /** The current run, if its process runs and is not paused. @throws SandboxError `not-running` */
  running(): ContainerRun;
  signal(signal: number): void;
  stop(signal: number, timeout: number, keep?: boolean): void;
  pause(paused: boolean): void;
  suspend(): Promise<void>;
  snapshot(files: SnapshotFiles): Promise<void>;
  rollback(files: RollbackFiles): Promise<void>;
}

const SIGKILL = 9;
/** The most connections that have not sent a request. */
const MAX_SILENT = 64;

/** Serves the control socket of one supervision. */
export class ControlServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #silent = new SilentConnections(MAX_SILENT);
  /** Connections that are told of the end. */
  readonly #waiting = new Set<Socket>();
  /** Connections that attached, by the key of their streams. */
  readonly #attached = new Map<number, Socket>();
  readonly #controlled: Controlled;
  #lastKey = 0;

  private constructor(controlled: Controlled) {
    this.#controlled = controlled;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** @throws SandboxError `state` */
  static async listen(path: string, controlled: Controlled): Promise<ControlServer> {
    const server = new ControlServer(controlled);
    try {
      server.#server.listen(path);
      await once(server.#server, 'listening');
    } catch (cause) {
      throw new SandboxError('state', `cannot listen on ${path}: ${messageOf(cause)}`, { cause });
    }
    return server;
  }

  /** Accepts no further connections. */
  close(): void {
    this.#server.close();
  }

  /** Sends `reply` to the connections that wait for the end, and closes all. */
  end(reply: ControlReply): void {
    this.close();
    for (const socket of this.#waiting) sendLine(socket, reply);
    for (const socket of this.#sockets) socket.end();
  }

  /** A connection that its client ends is closed, whatever its request still waits for. */
  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    this.#silent.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#waiting.delete(socket);
    });
    let update: ((message: ControlUpdate) => void) | undefined;
    readMessages<ControlRequest | ControlUpdate>(socket, (message) => {
      if (update !== undefined) {
        update(message as ControlUpdate);
        return undefined;
      }
      this.#silent.delete(socket);
      const request = message as ControlRequest;
      if (request.type === 'stream') return () => this.#join(socket, request.key, request.name);
      update = () => {};
      this.#serve(socket, request).then(
        (take) => {
          update = take ?? update;
        },
        (error) => sendLine(socket, toReply(error)),
      );
      return undefined;
    });
  }

  async #serve(
    socket: Socket,
    request: Exclude<ControlRequest, { type: 'stream' }>,
  ): Promise<((update: ControlUpdate) => void) | undefined> {
    const controlled = this.#controlled;
    switch (request.type) {
      case 'wait':
        this.#waiting.add(socket);
        return undefined;
      case 'signal':
        controlled.running();
        controlled.signal(request.signal);
        sendLine(socket, { type: 'done' });
        return undefined;
      case 'join':
        await controlled.running().joinNetwork(request.network);
        sendLine(socket, { type: 'done' });
        return undefined;
      case 'leave':
        controlled.running().leaveNetwork(request.folder);
        sendLine(socket, { type: 'done' });
        return undefined;
      case 'statistics':
        sendLine(socket, { type: 'statistics', statistics: await controlled.running().statistics() });
        return undefined;
      case 'pause':
        controlled.pause(request.paused);
        sendLine(socket, { type: 'done' });
        return undefined;
      case 'suspend':
        await controlled.suspend();
        this.#waiting.add(socket);
        return undefined;
      case 'snapshot':
        await controlled.snapshot({ machine: request.machine, layer: request.layer });
        sendLine(socket, { type: 'done' });
        return undefined;
      case 'rollback':
        await controlled.rollback({ machine: request.machine, layer: request.layer });
        sendLine(socket, { type: 'done' });
        return undefined;
      case 'stop':
        this.#waiting.add(socket);
        controlled.stop(request.signal, request.timeout * 1000, request.keep);
        return undefined;
      case 'exec':
        return this.#exec(socket, request.process, await controlled.running().exec(request.process));
      case 'attach': {
        const { terminal, stdin } = controlled;
        const key = ++this.#lastKey;
        this.#attached.set(key, socket);
        this.#waiting.add(socket);
        socket.once('close', () => this.#attached.delete(key));
        sendLine(socket, { type: 'attached', key, terminal, stdin: stdin !== undefined });
        if (terminal && request.size !== undefined) controlled.run()?.resize(request.size);
        return (update) => {
          if (update.type === 'signal') controlled.signal(update.signal);
          else controlled.run()?.resize(update.size);
        };
      }
    }
  }

  #exec(socket: Socket, { port }: ProcessSpec, process: StartedProcess): (update: ControlUpdate) => void {
    // The caller left before the start, and took the process's streams with it. As in Docker, a
    // process whose caller leaves later goes on.
    if (socket.destroyed && port !== undefined) process.signal(SIGKILL);
    sendLine(socket, { type: 'started', pid: process.pid });
    process.exited.then(
      ({ code, signal, oomKilled }) => {
        sendLine(socket, defined({ type: 'exited' as const, code: code ?? 128 + (signal ?? 0), signal, oomKilled }));
        socket.end();
      },
      () => {
        // The container ended first, which kills its processes.
        sendLine(socket, { type: 'exited', code: 137, signal: 9 });
        socket.end();
      },
    );
    return (update) => {
      if (update.type === 'signal') process.signal(update.signal);
      else process.resize(update.size);
    };
  }

  #join(socket: Socket, key: number, name: AttachedStream): void {
    const { stdout, stderr, stdin } = this.#controlled;
    const owner = this.#attached.get(key);
    if (owner === undefined) {
      socket.destroy();
      return;
    }
    if (name === 'stdin') {
      // The end of a client's input does not end the process's input: other clients may attach.
      if (stdin === undefined) socket.destroy();
      else socket.pipe(stdin, { end: false });
    } else {
      (name === 'stdout' ? stdout : stderr).attach(socket);
      socket.resume();
    }
    sendLine(owner, { type: 'joined', name });
  }
}
