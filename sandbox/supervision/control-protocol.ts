// What a command and the supervisor of a container say to each other: lines of JSON on the unix socket `control` in the
// container's folder of sockets, which is its owner's alone. The first line of a connection says what it is for; a
// connection that is a stream carries raw bytes from then on.
import type { Socket } from 'node:net';
import type { MachineStatistics, PeerNetwork } from '../../vmm/machine.js';
import type { ProcessSpec, TerminalSize } from '../agent/protocol.js';
import { SandboxError, type SandboxErrorCode } from '../errors.js';

/** Name of the socket. */
export const CONTROL = 'control';
/** Characters of a line: an environment may be large. */
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

/** Sends one line. */
export function sendLine(socket: Socket, message: ControlRequest | ControlUpdate | ControlReply): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
}

/**
 * Calls back with each line of a socket. What `onLine` returns, if anything, is called to have the socket after that line,
 * paused, with all that came behind it.
 */
export function readLines<T>(socket: Socket, onLine: (message: T) => (() => void) | undefined): void {
  let pending: Buffer[] = [];
  const onData = (chunk: Buffer) => {
    let rest = chunk;
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      const line = Buffer.concat([...pending, rest.subarray(0, end)]).toString();
      pending = [];
      rest = rest.subarray(end + 1);
      let message: T;
      try {
        message = JSON.parse(line) as T;
      } catch {
        socket.destroy();
        return;
      }
      const take = onLine(message);
      if (take !== undefined) {
        socket.off('data', onData);
        socket.pause();
        if (rest.length > 0) socket.unshift(rest);
        take();
        return;
      }
    }
    if (rest.length > 0) pending.push(rest);
    if (pending.reduce((sum, { length }) => sum + length, 0) > MAX_LINE) socket.destroy();
  };
  socket.on('data', onData);
}

export function toReply(error: unknown): ControlReply {
  if (error instanceof SandboxError) return { type: 'failed', code: error.code, message: error.message };
  return { type: 'failed', code: 'state', message: error instanceof Error ? error.message : String(error) };
}
