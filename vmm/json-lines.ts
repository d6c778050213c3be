// JSON lines: one JSON value per line, ended by a newline. Both sides of a control socket read them
// with this reader. Like machine.ts, it imports nothing of the machine monitor, so that the sandbox
// can use it.

import { GatheredBytes } from '../bytes/index.js';

const NEWLINE = 0x0a;

/**
 * A line that is not JSON, or that is longer than the reader's limit. The rest of the stream cannot
 * be read.
 */
export class JsonLineError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'JsonLineError';
  }
}

/**
 * Splits a stream of bytes into lines and parses each one. Keeps an incomplete line until the rest
 * arrives.
 */
export class JsonLines {
  readonly #maxLine: number;
  #pending = new GatheredBytes();

  /**
   * @param maxLine the most bytes of a line, without its newline. Limits the memory that a peer can
   * make the reader use.
   */
  constructor(maxLine: number) {
    this.#maxLine = maxLine;
  }

  /**
   * Yields the values of the lines that `chunk` completes. A caller that leaves the loop early
   * finds the unread bytes in {@link takeRest}. The caller may reuse `chunk` after the loop: the
   * reader copies what it keeps.
   * @throws JsonLineError if a line is not JSON or too long
   */
  *read(chunk: Uint8Array): Generator<unknown, void, undefined> {
    let rest = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    try {
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
        this.#checkLength(this.#pending.length + end);
        this.#pending.add(rest.subarray(0, end));
        const line = this.takeRest().toString();
        rest = rest.subarray(end + 1);
        yield parse(line);
      }
    } finally {
      this.#pending.add(rest);
    }
    this.#checkLength(this.#pending.length);
  }

  /** Returns the bytes after the last line that was read, and forgets them. */
  takeRest(): Buffer {
    const rest = this.#pending.bytes;
    this.#pending = new GatheredBytes();
    return rest;
  }

  #checkLength(length: number): void {
    if (length > this.#maxLine) throw new JsonLineError(`a line of more than ${this.#maxLine} bytes`);
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new JsonLineError('a line that is not JSON', { cause });
  }
}
