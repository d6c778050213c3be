// The protocol between commands and the supervisor of a container: lines of JSON on the unix socket
// `control` in the container's folder of sockets, which only its owner can access. The first line
// of a connection is its request. A connection for a stream carries raw bytes after that line.
import type { Socket } from 'node:net';
import { messageOf } from '../../errors/index.js';
import { JsonLineError, JsonLines } from '../../vmm/json-lines.js';
import type { Accelerator, MachineStatistics, PeerNetwork } from '../../vmm/machine.js';
import type { ProcessSpec, TerminalSize } from '../agent/protocol.js';
import { SandboxError, type SandboxErrorCode } from '../errors.js';

/** Bytes. An `exec` request with a large environment is the longest line. */
const MAX_LINE = 8 * 1024 * 1024;

/** The first line of a connection. */
export type ControlRequest =
  /** Sends a signal. Answered by `done`. */
  | { type: 'signal'; signal: number }
  /**
   * Sends `signal`, and SIGKILL after `timeout` seconds. Answered by `exited`. The unit is that of
   * earlier builds: a container that one of them started may still run after an update. With
   * `keep`, a container with `--rm` is not removed: it is started again.
   */
  | { type: 'stop'; signal: number; timeout: number; keep?: boolean | undefined }
  /** Pauses or resumes the machine. Answered by `done`. */
  | { type: 'pause'; paused: boolean }
  /**
   * Saves the machine to the disk, and ends it. Answered by `failed`, which says `suspended` once the
   * container is free to be resumed.
   */
  | { type: 'suspend' }
  /** Saves the machine and a copy of its disk, and lets it run on. Answered by `done`. */
  | ({ type: 'snapshot' } & SnapshotFiles)
  /**
   * Ends the machine, and continues a saved one in its place. Answered by `done` once that runs; by
   * `failed` if it cannot.
   */
  | ({ type: 'rollback' } & RollbackFiles)
  /** Joins a private network. Answered by `done`. */
  | { type: 'join'; network: PeerNetwork }
  /** Leaves a private network. Answered by `done`. */
  | { type: 'leave'; folder: string }
  /** Asks for the machine's statistics. Answered by `statistics`. */
  | { type: 'statistics' }
  /** Waits for the end of the container. Answered by `exited`. */
  | { type: 'wait' }
  /** Starts a process. Answered by `started`, then by `exited`. */
  | { type: 'exec'; process: ProcessSpec }
  /** Attaches to the container. Answered by `attached`, at last by `exited`. */
  | { type: 'attach'; size?: TerminalSize }
  /** Carries one stream of an attachment: raw bytes follow. */
  | { type: 'stream'; key: number; name: AttachedStream };

/** Paths in the folder of a snapshot. Neither exists yet. */
export interface SnapshotFiles {
  /** Of the saved machine. */
  machine: string;
  /** Of the copy of the writable disk. Not made if the container has none. */
  layer: string;
}

/** What a container continues with. */
export interface RollbackFiles {
  /** Path of the saved machine of a snapshot of this container. */
  machine: string;
  /** Path of a copy of its writable disk, which becomes the container's. */
  layer?: string | undefined;
}

export type AttachedStream = 'stdin' | 'stdout' | 'stderr';

/** Lines that may follow `exec` and `attach`. */
export type ControlUpdate = { type: 'signal'; signal: number } | { type: 'resize'; size: TerminalSize };

export type ControlReply =
  | { type: 'done' }
  | { type: 'started'; pid: number }
  | { type: 'statistics'; statistics: MachineStatistics }
  /** Sent during a start: the host lacks something, and `reason` says what. */
  | { type: 'warning'; of: 'fallback'; accel: Accelerator; reason: string }
  | { type: 'warning'; of: 'network'; reason: string }
  | { type: 'warning'; of: 'cpus'; cpus: number }
  | { type: 'attached'; key: number; terminal: boolean; stdin: boolean }
  /** The stream is connected: from now on it loses no bytes. */
  | { type: 'joined'; name: AttachedStream }
  /** The process exited; by `signal` if that is there. */
  | { type: 'exited'; code: number; signal?: number; oomKilled?: boolean }
  | { type: 'failed'; code: SandboxErrorCode; message: string };

/** Any line of the socket. */
interface Message {
  type: string;
}

/** Sends one line. */
export function sendLine(socket: Socket, message: ControlRequest | ControlUpdate | ControlReply): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}

/**
 * Calls back with each message of a socket. If `onMessage` returns a function, that function takes
 * over the socket: it is called with the socket paused and all bytes after the message unread. A
 * line that is not a message destroys the socket.
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

/**
 * Both peers belong to one user and one build, so the type of a message implies its other fields.
 */
function isMessage<T extends Message>(value: unknown): value is T {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}

export function toReply(error: unknown): ControlReply {
  if (error instanceof SandboxError) return { type: 'failed', code: error.code, message: error.message };
  return { type: 'failed', code: 'state', message: messageOf(error) };
}
