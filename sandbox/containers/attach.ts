// Attaching to the streams of a container that another process supervises.
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { ContainerIo } from '../agent/process-io.js';
import type { TerminalSize } from '../agent/protocol.js';
import { copy } from '../agent/streams.js';
import { defer } from '../deferred.js';
import { SandboxError } from '../errors.js';
import type { ContainerFolder } from '../home/container-folder.js';
import { type Signal, signalNumber } from '../spec/signal-number.js';
import { connectToControl, openRequest } from '../supervision/control-client.js';
import { type AttachedStream, sendLine } from '../supervision/control-protocol.js';

const SIGPIPE = 13;

export interface Attachment {
  /** True if the process has a terminal. */
  readonly terminal: boolean;
  /**
   * The exit code of the container. Resolves when all output has reached the caller; to 141 if the
   * reader of the output goes away.
   */
  readonly exit: Promise<number>;
  readonly outputChunks: number;
  /** @throws SandboxError `bad-spec` */
  signal(signal: Signal): void;
  resize(size: TerminalSize): void;
  /** Ends the attachment, not the container; `exit` rejects with `reason`. */
  detach(reason: Error): void;
}

/**
 * Attaches to a running container: to its output from now on, and to its input if it has one.
 * @throws SandboxError `not-running`
 */
export async function attach(folder: ContainerFolder, io: ContainerIo): Promise<Attachment> {
  const client = await openRequest(folder, {
    type: 'attach',
    ...(io.terminalSize !== undefined && { size: io.terminalSize }),
  });
  const streams: Socket[] = [];
  let chunks = 0;
  let leave!: (reason: Error) => void;
  const left = new Promise<never>((_, reject) => {
    leave = reject;
  });
  left.catch(() => {});
  const close = () => {
    client[Symbol.dispose]();
    for (const stream of streams) stream.destroy();
  };
  try {
    const attached = await client.next();
    if (attached?.type !== 'attached') throw ended();
    const { sockets } = folder.state();
    if (sockets === undefined) throw ended();
    const join = async (name: AttachedStream) => {
      const stream = await joinStream(sockets, attached.key, name);
      streams.push(stream);
      const reply = await client.next();
      if (reply?.type !== 'joined') throw ended();
      return stream;
    };
    const unread = defer<number>();
    const drain = async (stream: Socket, sink: Writable) => {
      const end = await copy(stream, sink, () => chunks++).done;
      if (end.reason === 'end') return;
      // An output without a reader ends the attachment, not the container.
      if (end.error.code === 'EPIPE') unread.resolve(128 + SIGPIPE);
      else leave(new SandboxError('state', `cannot write the output: ${end.error.message}`, { cause: end.error }));
    };
    const outputs = [drain(await join('stdout'), io.stdout)];
    if (!attached.terminal) outputs.push(drain(await join('stderr'), io.stderr));
    if (io.stdin !== undefined && attached.stdin) {
      const input = await join('stdin');
      copy(io.stdin, input).done.then(() => input.end());
    }
    const end = async () => {
      const reply = await Promise.race([client.next(), left]);
      if (reply?.type !== 'exited') throw new SandboxError('machine-died', 'the container was lost');
      await Promise.race([Promise.all(outputs), left]);
      return reply.code;
    };
    return {
      terminal: attached.terminal,
      exit: Promise.race([end(), unread.promise]).finally(close),
      get outputChunks() {
        return chunks;
      },
      signal: (signal) => client.send({ type: 'signal', signal: signalNumber(signal) }),
      resize: (size) => client.send({ type: 'resize', size }),
      detach: leave,
    };
  } catch (error) {
    close();
    throw error;
  }
}

async function joinStream(sockets: string, key: number, name: AttachedStream): Promise<Socket> {
  const socket = await connectToControl(sockets);
  if (socket === undefined) throw ended();
  socket.pause();
  sendLine(socket, { type: 'stream', key, name });
  return socket;
}

function ended(): SandboxError {
  return new SandboxError('not-running', 'the container has ended');
}
