// The commands' end of the control socket.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
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

/** One request to the supervisor, its replies, and what else is said on its connection. */
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
    // What the supervisor has ended has no more to say.
    socket.once('end', () => socket.end());
    socket.once('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /**
   * The next reply; nothing when the supervisor is gone.
   * @throws SandboxError what the supervisor failed with
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
 * A connection to the supervisor of a container.
 * @throws SandboxError `not-running` when it has none
 */
async function connectToSupervisor(folder: ContainerFolder, request: ControlRequest): Promise<Socket> {
  const { sockets } = folder;
  if (sockets === undefined) throw notRunning(folder);
  const socket = connect({ path: controlSocket(sockets), allowHalfOpen: true });
  try {
    await once(socket, 'connect');
  } catch {
    // It has ended meanwhile.
    throw notRunning(folder);
  }
  socket.on('error', () => {});
  sendLine(socket, request);
  return socket;
}

/** @throws SandboxError `not-running` */
export async function openRequest(folder: ContainerFolder, request: ControlRequest): Promise<ControlClient> {
  return new ControlClient(await connectToSupervisor(folder, request));
}

function notRunning({ shortId }: ContainerFolder): SandboxError {
  return new SandboxError('not-running', `container ${shortId} is not running`);
}
