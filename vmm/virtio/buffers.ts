// The buffers of a descriptor chain, of one direction: where they lie, and bytes copied in or out of them. A driver may
// cut a request into buffers as it likes (virtio 1.2, 2.7.4 "Message Framing"), so all access is by offset into the whole.
import type { GuestMemory } from '../host/memory.js';

/** `struct iovec` on x86-64 in 32-bit words: u64 base, u64 length. */
export const IOVEC_WORDS = 4;

/** Room for `count` iovecs, for preadv, writev and their like. */
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
 * Up to a fixed number of buffers in guest memory. Every buffer was checked to lie in guest memory when it was added.
 * One object serves request after request: nothing is allocated on the way.
 */
export class BufferList {
  /** Number of buffers, none of them empty. */
  count = 0;
  /** Bytes in all of them. */
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

  /** Adds a buffer; false if there is no more room for it or it is not all guest memory. */
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
   * Writes iovecs for `length` bytes from `offset` into `iovecs`, from the slot `at` on; returns how many. The caller
   * keeps `offset + length` within {@link length}; `iovecs` has room for {@link capacity} behind `at`.
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

  /** Gives the host back what memory of these buffers is whole pages; returns the bytes in all of them. */
  discard(): number {
    for (let index = 0; index < this.count; index++) this.#memory.discard(this.#guest[index]!, this.#lengths[index]!);
    return this.length;
  }

  /** Copies at most `length` bytes from `offset` on into `target`, as many as there are; returns how many. */
  read(offset: number, target: Uint8Array, length = target.length): number {
    return this.#copy(offset, target, length, false);
  }

  /** Copies the first `length` bytes of `source` to `offset`, as many as there is room for; returns how many. */
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
      // Only a copy of more than a window is refused: the buffer itself was checked when it was added.
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
