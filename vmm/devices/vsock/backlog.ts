// Bytes from the guest that wait for room in a host socket: a ring of fixed size.
import * as libc from '../../host/libc.js';
import type { BufferList } from '../../virtio/buffers.js';

export class Backlog {
  readonly #ring: Uint8Array;
  #start = 0;
  #length = 0;

  /** `capacity` in bytes. */
  constructor(capacity: number) {
    this.#ring = new Uint8Array(capacity);
  }

  /** Bytes that wait. */
  get length(): number {
    return this.#length;
  }

  /** Adds `length` bytes of `source` from `offset`. The caller ensures that there is room. */
  append(source: BufferList, offset: number, length: number): void {
    const capacity = this.#ring.length;
    const end = (this.#start + this.#length) % capacity;
    const first = Math.min(length, capacity - end);
    source.read(offset, this.#ring.subarray(end, end + first));
    if (length > first) source.read(offset + first, this.#ring.subarray(0, length - first));
    this.#length += length;
  }

  /**
   * Writes to `fd` until it is full or nothing waits. Returns the bytes written, or -1 if the
   * socket is broken.
   */
  writeTo(fd: number): number {
    let done = 0;
    while (this.#length > 0) {
      const chunk = Math.min(this.#length, this.#ring.length - this.#start);
      const written = libc.write(fd, this.#ring.subarray(this.#start, this.#start + chunk), chunk);
      if (written < 0) {
        if (libc.errno() === libc.EINTR) continue;
        return libc.errno() === libc.EAGAIN ? done : -1;
      }
      this.#start = (this.#start + written) % this.#ring.length;
      this.#length -= written;
      done += written;
    }
    return done;
  }

  /** Drops the waiting bytes. Returns their number. */
  clear(): number {
    const dropped = this.#length;
    this.#length = 0;
    return dropped;
  }
}
