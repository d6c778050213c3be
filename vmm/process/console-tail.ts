// The end of what a guest wrote to its console, kept for when it goes wrong.

/** The last bytes of a stream that has no end. */
export class ConsoleTail {
  readonly #ring: Uint8Array;
  #written = 0;

  /** `capacity` in bytes. */
  constructor(capacity = 16384) {
    this.#ring = new Uint8Array(capacity);
  }

  push(byte: number): void {
    this.#ring[this.#written++ % this.#ring.length] = byte;
  }

  /** The bytes kept as UTF-8, what is not being replaced by U+FFFD. */
  toString(): string {
    const { length } = this.#ring;
    if (this.#written <= length) return Buffer.from(this.#ring.subarray(0, this.#written)).toString();
    const start = this.#written % length;
    return Buffer.concat([this.#ring.subarray(start), this.#ring.subarray(0, start)]).toString();
  }
}
