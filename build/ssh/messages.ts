// Messages of the agent protocol of SSH (draft-ietf-sshm-ssh-agent): a length and its bytes, of
// which the first is the type. A RUN writes them, so they may be anything.
import { GatheredBytes } from '../../bytes/index.js';

/** Bytes of a message without its length, as OpenSSH bounds them. */
export const MAX_MESSAGE = 256 << 10;

export const FAILURE = 5;
export const REQUEST_IDENTITIES = 11;
export const IDENTITIES_ANSWER = 12;
export const SIGN_REQUEST = 13;
export const SIGN_RESPONSE = 14;

const LENGTH = 4;

/** A message that is none, or is too large. What follows it cannot be read. */
export class MessageError extends Error {
  override readonly name = 'MessageError';
}

/** Splits a stream into messages. */
export class MessageReader {
  #bytes = new GatheredBytes();
  /** Bytes of the message with its length. Undefined: the length is still to come. */
  #size: number | undefined;

  /**
   * The messages that the piece completes, each without its length.
   * @throws MessageError
   */
  *push(piece: Buffer): Generator<Buffer> {
    for (let rest = piece; rest.length > 0; ) {
      const wanted = (this.#size ?? LENGTH) - this.#bytes.length;
      this.#bytes.add(rest.subarray(0, wanted));
      rest = rest.subarray(wanted);
      if (this.#bytes.length < (this.#size ?? LENGTH)) return;
      if (this.#size === undefined) {
        const length = this.#bytes.bytes.readUInt32BE(0);
        if (length === 0 || length > MAX_MESSAGE) throw new MessageError(`a message of ${length} bytes`);
        this.#size = LENGTH + length;
        continue;
      }
      const message = this.#bytes.bytes.subarray(LENGTH);
      this.#bytes = new GatheredBytes();
      this.#size = undefined;
      yield message;
    }
  }
}

/** A message with its length. */
export function framed(message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(LENGTH + message.length);
  bytes.writeUInt32BE(message.length, 0);
  bytes.set(message, LENGTH);
  return bytes;
}

/**
 * The type of the answer to a request that a RUN may make, if that is well formed: to list the
 * keys, and to sign with one of them. All else (adding and removing keys, locking, extensions) is
 * refused.
 */
export function answerOf(request: Buffer): number | undefined {
  if (request[0] === REQUEST_IDENTITIES) return request.length === 1 ? IDENTITIES_ANSWER : undefined;
  if (request[0] !== SIGN_REQUEST) return undefined;
  // A key, the bytes to sign, and 32 flags.
  let at = 1;
  for (let strings = 0; strings < 2; strings++) {
    if (request.length - at < LENGTH) return undefined;
    at += LENGTH + request.readUInt32BE(at);
  }
  return at + 4 === request.length ? SIGN_RESPONSE : undefined;
}
