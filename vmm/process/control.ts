// The control socket of a machine process: one JSON object a line, both ways (machine.ts says which).
import type { EventLoop } from '../host/event-loop.js';
import * as libc from '../host/libc.js';
import type { MachineEvent, MachineRequest } from '../machine.js';

const NEWLINE = 0x0a;
const CHUNK = 65536;
/** A specification is a few kilobytes, with thousands of disk extents a few hundred. */
const MAX_LINE = 16 * 2 ** 20;

/** Reads requests within an event loop and writes events. Owns nothing: the descriptor lives as long as the process. */
export class ControlSocket {
  readonly #fd: number;
  readonly #chunk = Buffer.alloc(CHUNK);
  #pending: Buffer[] = [];
  #pendingLength = 0;

  /**
   * @param onRequest a line that is JSON came; it is checked no further.
   * @param onClosed the owner is gone, or does not speak the protocol; called at most once.
   */
  constructor(fd: number, loop: EventLoop, onRequest: (request: MachineRequest) => void, onClosed: () => void) {
    this.#fd = fd;
    loop.add(fd, libc.EPOLLIN, () => {
      if (this.#receive(onRequest)) return;
      loop.remove(fd);
      onClosed();
    });
  }

  /** False at the end of the stream or when it is broken. */
  #receive(onRequest: (request: MachineRequest) => void): boolean {
    const count = libc.read(this.#fd, this.#chunk, CHUNK);
    if (count < 0) return libc.errno() === libc.EAGAIN || libc.errno() === libc.EINTR;
    if (count === 0) return false;
    let rest = this.#chunk.subarray(0, count);
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
      const line = Buffer.concat([...this.#pending, rest.subarray(0, end)]).toString();
      this.#pending = [];
      this.#pendingLength = 0;
      rest = rest.subarray(end + 1);
      let request: MachineRequest;
      try {
        request = JSON.parse(line);
      } catch {
        return false;
      }
      onRequest(request);
    }
    this.#pending.push(Buffer.from(rest));
    this.#pendingLength += rest.length;
    return this.#pendingLength <= MAX_LINE;
  }

  /** Sends an event. An owner that is gone, or does not read, misses it. */
  send(event: MachineEvent): void {
    let bytes = Buffer.from(`${JSON.stringify(event)}\n`);
    while (bytes.length > 0) {
      const count = libc.write(this.#fd, bytes, bytes.length);
      if (count < 0 && libc.errno() !== libc.EINTR) return;
      bytes = bytes.subarray(Math.max(0, count));
    }
  }
}
