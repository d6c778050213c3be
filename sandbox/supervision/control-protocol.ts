// What a command and the supervisor of a container say to each other: lines of JSON on the unix socket `control` in the
// container's folder of sockets, which is its owner's alone. The first line of a connection says what it is for; a
// connection that is a stream carries raw bytes from then on.
import type { Socket } from 'node:net';
import { messageOf } from '../../errors/index.js';
import { JsonLineError, JsonLines } from '../../vmm/json-lines.js';
import type { MachineStatistics, PeerNetwork } from '../../vmm/machine.js';
import type { ProcessSpec, TerminalSize } from '../agent/protocol.js';
import { SandboxError, type SandboxErrorCode } from '../errors.js';

/** Bytes of a line: an environment may be large. */
const MAX_LINE = 8 * 1024 * 1024;

/** The first line. */
export type ControlRequest =
  /** Answered by `done`. */
  | { type: 'signal'; signal: number }
  /** Signal, then SIGKILL when it takes longer than `timeout` milliseconds; answered by `exited`. */
  | { type: 'stop'; signal: number; timeout: number }
  /** Answered by `done`. */
  | { type: 'pause'; paused: boolean }
  /** Into a private network, or out of it; answered by `done`. */
  | { type: 'join'; network: PeerNetwork }
  | { type: 'leave'; folder: string }
  /** Answered by `statistics`. */
  | { type: 'statistics' }
  /** Answered by `exited`. */
  | { type: 'wait' }
  /** Answered by `started` and then `exited`. */
  | { type: 'exec'; process: ProcessSpec }
  /** Answered by `attached`, and by `exited` in the end. */
  | { type: 'attach'; size?: TerminalSize }
  /** One stream of an attachment: raw from the next byte on. */
  | { type: 'stream'; key: number; name: AttachedStream };

export type AttachedStream = 'stdin' | 'stdout' | 'stderr';

/** What may follow `exec` and `attach`. */
export type ControlUpdate = { type: 'signal'; signal: number } | { type: 'resize'; size: TerminalSize };

export type ControlReply =
  | { type: 'done' }
  | { type: 'started'; pid: number }
  | { type: 'statistics'; statistics: MachineStatistics }
  /** Of a start: what the host lacks. */
  | { type: 'warning'; of: 'fallback' | 'network'; reason: string }
  | { type: 'attached'; key: number; terminal: boolean; stdin: boolean }
  /** Nothing of this stream is lost from now on. */
  | { type: 'joined'; name: AttachedStream }
  /** `signal` ended it, or it ended by itself. */
  | { type: 'exited'; code: number; signal?: number; oomKilled?: boolean }
  | { type: 'failed'; code: SandboxErrorCode; message: string };

/** Whatever is sent on the socket. */
interface Message {
  type: string;
}

/** Sends one line. */
export function sendLine(socket: Socket, message: ControlRequest | ControlUpdate | ControlReply): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}

/**
 * Calls back with each message of a socket. If `onMessage` returns a function, that function takes the socket over: it is
 * called after the message, with the socket paused and all bytes behind the message unread.
 */
export function readMessages<T extends Message>(
  socket: Socket,
  onMessage: (message: T) => (() => void) | undefined,
): void {
  const lines = new JsonLines(MAX_LINE);
  const read = (chunk: Buffer): (() => void) | undefined => {
    for (const value of lines.read(chunk)) {
      if (!isMessage<T>(value)) throw new JsonLineError('a line that is not a message');
      const take = onMessage(value);
      if (take !== undefined) return take;
    }
    return undefined;
  };
  const onData = (chunk: Buffer) => {
    try {
      const take = read(chunk);
      if (take === undefined) return;
      socket.off('data', onData);
      socket.pause();
      const rest = lines.takeRest();
      if (rest.length > 0) socket.unshift(rest);
      take();
    } catch (error) {
      if (!(error instanceof JsonLineError)) throw error;
      socket.destroy();
    }
  };
  socket.on('data', onData);
}

/** Both ends of the socket are one user's and of one build: a message's type says what else it has. */
function isMessage<T extends Message>(value: unknown): value is T {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}

export function toReply(error: unknown): ControlReply {
  if (error instanceof SandboxError) return { type: 'failed', code: error.code, message: error.message };
  return { type: 'failed', code: 'state', message: messageOf(error) };
}
