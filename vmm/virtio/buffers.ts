// The buffers of one direction of a descriptor chain: their addresses, and copies in and out of
// them. A driver may cut a request into buffers of any size (virtio 1.2, 2.7.4 "Message Framing"),
// so all access is by offset into the whole. Every index below is smaller than `count`, and every
// offset was checked when its buffer was added.
import type { GuestMemory } from '../host/memory.js';

/** `struct iovec` on x86-64 in 32-bit words: u64 base, u64 length. */
export const IOVEC_WORDS = 4;

/** Allocates `count` iovecs for preadv, writev and similar calls. */
export function allocateIovecs(count: number): Uint32Array {
  return new Uint32Array(count * IOVEC_WORDS);
}

/** Writes the iovec at slot `at`. */
export function setIovec(iovecs: Uint32Array, address: number, length: number, at = 0): void {
  const high = Math.floor(address / 2 ** 32);
  const word = at * IOVEC_WORDS;
  iovecs[word] = address - high * 2 ** 32;
  iovecs[word + 1] = high;
  // A buffer is at most 2^32 - 1 bytes long.
  iovecs[word + 2] = length;
  iovecs[word + 3] = 0;
}

/**
 * A list of buffers in guest memory with a fixed capacity. Each buffer is checked when it is added.
 * One object serves all requests of a queue, so a request allocates nothing.
 */
export class BufferList {
  /** Number of buffers, none of them empty. */
  count = 0;
  /** Bytes in all buffers. */
  length = 0;
  readonly #memory: GuestMemory;
  readonly #guest: Float64Array;
  readonly #host: Float64Array;
  readonly #lengths: Float64Array;

  constructor(
    memory: GuestMemory,
    readonly capacity: number,
  ) {
    this.#memory = memory;
    this.#guest = new Float64Array(capacity);
    this.#host = new Float64Array(capacity);
    this.#lengths = new Float64Array(capacity);
  }

  clear(): void {
    this.count = 0;
    this.length = 0;
  }

  /**
   * Adds a buffer. Returns false if the list is full, or if part of the buffer is outside guest
   * memory.
   */
  add(guestAddress: number, length: number): boolean {
    const host = this.#memory.hostAddress(guestAddress, length);
    if (host === 0) return false;
    if (length === 0) return true;
    if (this.count === this.capacity) return false;
    this.#guest[this.count] = guestAddress;
    this.#host[this.count] = host;
    this.#lengths[this.count] = length;
    this.count++;
    this.length += length;
    return true;
  }

  /**
   * Writes iovecs for `length` bytes from `offset` to `iovecs`, starting at slot `at`. Returns
   * their number. The caller keeps `offset + length` within {@link length}, and `iovecs` has room
   * for {@link capacity} more after `at`.
   */
  iovecs(offset: number, length: number, iovecs: Uint32Array, at = 0): number {
    let skip = offset;
    let left = length;
    let slot = at;
    for (let index = 0; left > 0 && index < this.count; index++) {
      const size = this.#lengths[index]!;
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const bytes = Math.min(size - skip, left);
      setIovec(iovecs, this.#host[index]! + skip, bytes, slot++);
      left -= bytes;
      skip = 0;
    }
    return slot - at;
  }

  /** Returns the whole pages of these buffers to the host. Returns the bytes of all buffers. */
  discard(): number {
    for (let index = 0; index < this.count; index++) this.#memory.discard(this.#guest[index]!, this.#lengths[index]!);
    return this.length;
  }

  /** Copies up to `length` bytes from `offset` to `target`. Returns the number of bytes copied. */
  read(offset: number, target: Uint8Array, length = target.length): number {
    return this.#copy(offset, target, length, false);
  }

  /**
   * Copies the first `length` bytes of `source` to `offset`, up to the end. Returns the number of
   * bytes copied.
   */
  write(offset: number, source: Uint8Array, length = source.length): number {
    return this.#copy(offset, source, length, true);
  }

  #copy(offset: number, bytes: Uint8Array, length: number, toGuest: boolean): number {
    let skip = offset;
    let done = 0;
    for (let index = 0; done < length && index < this.count; index++) {
      const size = this.#lengths[index]!;
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const address = this.#guest[index]! + skip;
      const chunk = Math.min(size - skip, length - done);
      const window = this.#memory.window(address, chunk);
      // Only a copy larger than a window fails: the buffer was checked when it was added.
      if (window === undefined) return done;
      const start = address - window.guestAddress;
      if (chunk > 64) {
        if (toGuest) window.bytes.set(bytes.subarray(done, done + chunk), start);
        else bytes.set(window.bytes.subarray(start, start + chunk), done);
      } else if (toGuest) {
        for (let byte = 0; byte < chunk; byte++) window.bytes[start + byte] = bytes[done + byte]!;
      } else {
        for (let byte = 0; byte < chunk; byte++) bytes[done + byte] = window.bytes[start + byte]!;
      }
      done += chunk;
      skip = 0;
    }
    return done;
  }
}
