// The control socket of a machine process: one JSON object a line, both ways (machine.ts says which).
import type { EventLoop } from '../host/event-loop.js';
import * as libc from '../host/libc.js';
import { JsonLineError, JsonLines } from '../json-lines.js';
import type { MachineEvent, MachineRequest } from '../machine.js';

const CHUNK = 65536;
/** Bytes of a request. A specification is a few kilobytes, with thousands of disk extents a few hundred. */
const MAX_REQUEST = 16 * 2 ** 20;

/** Reads requests within an event loop and writes events. Owns nothing: the descriptor lives as long as the process. */
export class ControlSocket {
  readonly #fd: number;
  readonly #chunk = Buffer.alloc(CHUNK);
  readonly #lines = new JsonLines(MAX_REQUEST);

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
    try {
      for (const request of this.#lines.read(this.#chunk.subarray(0, count))) onRequest(request as MachineRequest);
      return true;
    } catch (error) {
      if (error instanceof JsonLineError) return false;
      throw error;
    }
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
