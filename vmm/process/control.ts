// The control socket of the machine process: JSON lines in both directions (machine.ts).
import { DescriptorReader } from '../host/descriptor-reader.js';
import type { EventLoop } from '../host/event-loop.js';
import * as libc from '../host/libc.js';
import { JsonLineError, JsonLines } from '../json-lines.js';
import type { MachineEvent, MachineRequest } from '../machine.js';

const CHUNK = 65536;
/**
 * Bytes. A specification takes a few kilobytes, or a few hundred with thousands of disk extents.
 */
const MAX_REQUEST = 16 * 2 ** 20;

/**
 * Reads requests in an event loop, and writes events. Owns nothing: the descriptor stays open as
 * long as the process runs.
 */
export class ControlSocket {
  readonly #fd: number;
  readonly #reader: DescriptorReader;
  readonly #lines = new JsonLines(MAX_REQUEST);

  /**
   * @param onRequest a request came. It is valid JSON and otherwise unchecked.
   * @param onClosed the owner closed the socket or broke the protocol. Called at most once.
   */
  constructor(fd: number, loop: EventLoop, onRequest: (request: MachineRequest) => void, onClosed: () => void) {
    this.#fd = fd;
    this.#reader = new DescriptorReader(fd, CHUNK);
    loop.add(fd, libc.EPOLLIN, () => {
      if (this.#receive(onRequest)) return;
      loop.remove(fd);
      onClosed();
    });
  }

  /** Returns false at the end of the stream, or if the owner broke the protocol. */
  #receive(onRequest: (request: MachineRequest) => void): boolean {
    const count = this.#reader.receive(0, CHUNK);
    if (count < 0) return count === -libc.EAGAIN || count === -libc.EINTR;
    if (count === 0) return false;
    const { buffer, byteOffset } = this.#reader.data;
    try {
      for (const request of this.#lines.read(new Uint8Array(buffer, byteOffset, count))) {
        onRequest(request as MachineRequest);
      }
      return true;
    } catch (error) {
      if (error instanceof JsonLineError) return false;
      throw error;
    }
  }

  /** Returns the first open files that came, at most so many. The caller owns them. */
  takeDescriptors(count: number): number[] {
    return this.#reader.take(count);
  }

  /** Sends an event. The event is lost if the owner is gone or does not read. */
  send(event: MachineEvent): void {
    let bytes = Buffer.from(`${JSON.stringify(event)}\n`);
    while (bytes.length > 0) {
      const count = libc.write(this.#fd, bytes, bytes.length);
      if (count < 0 && libc.errno() !== libc.EINTR) return;
      bytes = bytes.subarray(Math.max(0, count));
    }
  }
}
