// The client of the control socket.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '../../errors/index.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import { controlSocket } from '../home/socket-folder.js';
import {
  type ControlReply,
  type ControlRequest,
  type ControlUpdate,
  readMessages,
  sendLine,
} from './control-protocol.js';

/** Milliseconds to connect to a server whose queue is full, and between two attempts. */
const CONNECT_TIMEOUT = 10_000;
const CONNECT_PAUSE = 20;

/** The connection of one request to the supervisor: replies, and updates of the request. */
export class ControlClient implements Disposable {
  readonly #socket: Socket;
  readonly #replies: ControlReply[] = [];
  #wake = () => {};
  #ended = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    readMessages<ControlReply>(socket, (reply) => {
      this.#replies.push(reply);
      this.#wake();
      return undefined;
    });
    // The supervisor sends nothing more after its end.
    socket.once('end', () => socket.end());
    socket.once('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /**
   * The next reply; undefined when the supervisor is gone.
   * @throws SandboxError the error that the supervisor reports
   */
  async next(): Promise<Exclude<ControlReply, { type: 'failed' }> | undefined> {
    while (this.#replies.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const reply = this.#replies.shift();
    if (reply?.type === 'failed') throw new SandboxError(reply.code, reply.message);
    return reply;
  }

  send(message: ControlUpdate): void {
    sendLine(this.#socket, message);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

/**
 * Connects to the supervisor of a container.
 * @throws SandboxError `not-running` if it has none
 */
async function connectToSupervisor(folder: ContainerFolder, request: ControlRequest): Promise<Socket> {
  const { sockets } = folder;
  if (sockets === undefined) throw notRunning(folder);
  const socket = await connectToControl(sockets);
  // The supervisor may have exited meanwhile.
  if (socket === undefined) throw notRunning(folder);
  sendLine(socket, request);
  return socket;
}

/**
 * Connects to the control socket in a folder of sockets. Undefined if it has no server.
 * @throws SandboxError `state` if the server does not accept in time
 */
export async function connectToControl(sockets: string): Promise<Socket | undefined> {
  const deadline = performance.now() + CONNECT_TIMEOUT;
  for (;;) {
    const socket = connect({ path: controlSocket(sockets), allowHalfOpen: true });
    try {
      await once(socket, 'connect');
      return socket.on('error', () => {});
    } catch (error) {
      // The queue of the socket is full.
      if (!hasCode(error, 'EAGAIN')) return undefined;
      if (performance.now() > deadline) throw new SandboxError('state', 'the supervisor of the container is too busy');
      await sleep(CONNECT_PAUSE);
    }
  }
}

/** @throws SandboxError `not-running` */
export async function openRequest(folder: ContainerFolder, request: ControlRequest): Promise<ControlClient> {
  return new ControlClient(await connectToSupervisor(folder, request));
}

function notRunning({ shortId }: ContainerFolder): SandboxError {
  return new SandboxError('not-running', `container ${shortId} is not running`);
}
