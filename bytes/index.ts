// Bytes of a stream whose other end is a stranger: a guest, a registry, a caller. Who cuts a stream into
// pieces of one byte makes each of them an object of some hundred bytes here, if they are kept as they
// come. So they are copied together.

const FIRST_SIZE = 1024;

/** Memory for at most twice the bytes that were added, and no piece of them. */
export class GatheredBytes {
  #memory: Buffer = Buffer.alloc(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Copies the piece. */
  add(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#memory.length) {
      const memory = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#memory.length, FIRST_SIZE));
      this.#memory.copy(memory, 0, 0, this.#length);
      this.#memory = memory;
    }
    this.#memory.set(piece, this.#length);
    this.#length = length;
  }

  /** All bytes, in memory that later pieces may be added to. */
  get bytes(): Buffer {
    return this.#memory.subarray(0, this.#length);
  }
}
