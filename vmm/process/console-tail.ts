// Keeps the end of the guest's console output, to explain a crash.

/** The last bytes of an endless stream. */
export class ConsoleTail {
  readonly #ring: Uint8Array;
  #written = 0;

  /** @param capacity in bytes */
  constructor(capacity = 16384) {
    this.#ring = new Uint8Array(capacity);
  }

  push(byte: number): void {
    this.#ring[this.#written++ % this.#ring.length] = byte;
  }

  /** Returns the kept bytes as UTF-8. Invalid sequences become U+FFFD. */
  toString(): string {
    const { length } = this.#ring;
    if (this.#written <= length) return Buffer.from(this.#ring.subarray(0, this.#written)).toString();
    const start = this.#written % length;
    return Buffer.concat([this.#ring.subarray(start), this.#ring.subarray(0, start)]).toString();
  }
}
