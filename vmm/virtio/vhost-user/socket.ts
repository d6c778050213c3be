// The back-end's socket of a vhost-user connection: whole messages with their file descriptors
// (unix(7), SCM_RIGHTS).
import { DescriptorReader } from '../../host/descriptor-reader.js';
import * as libc from '../../host/libc.js';
import {
  FLAG_REPLY,
  FLAG_VERSION,
  FLAG_VERSION_MASK,
  FrontEndGone,
  HEADER_SIZE,
  MAX_PAYLOAD,
  MAX_REGIONS,
  type Message,
  VhostUserError,
} from './messages.js';

/** Owns the socket, and makes it non-blocking. */
export class VhostUserSocket implements Disposable {
  readonly #reader: DescriptorReader;
  #filled = 0;

  constructor(readonly fd: number) {
    libc.setNonBlocking(fd);
    this.#reader = new DescriptorReader(fd, HEADER_SIZE + MAX_PAYLOAD);
  }

  /**
   * Returns the next message, or undefined while it is incomplete. Never blocks.
   * @throws FrontEndGone at the end of the connection; VhostUserError for an invalid message
   */
  receive(): Message | undefined {
    for (;;) {
      const wanted = this.#wanted();
      if (this.#filled === wanted) return this.#take();
      // Never reads beyond this message, so that the descriptors received belong to it.
      const count = this.#receiveBytes(wanted - this.#filled);
      if (count === undefined) return undefined;
      this.#filled += count;
    }
  }

  /** Returns the number of bytes to receive: the header's, then the whole message's. */
  #wanted(): number {
    if (this.#filled < HEADER_SIZE) return HEADER_SIZE;
    const size = this.#reader.data.getUint32(8, true);
    if (size > MAX_PAYLOAD)
      throw new VhostUserError(`a message has ${size} bytes of payload; at most ${MAX_PAYLOAD} are allowed`);
    return HEADER_SIZE + size;
  }

  #receiveBytes(length: number): number | undefined {
    const count = this.#reader.receive(this.#filled, length);
    if (count === -libc.EAGAIN) return undefined;
    if (count === -libc.EINTR) return 0;
    if (count < 0) throw new FrontEndGone({ cause: new libc.SystemError('recvmsg', -count) });
    if (this.#reader.descriptors > MAX_REGIONS) {
      throw new VhostUserError(`a message has more than ${MAX_REGIONS} file descriptors`);
    }
    if (count === 0) throw new FrontEndGone();
    return count;
  }

  #take(): Message {
    const { data } = this.#reader;
    const flags = data.getUint32(4, true);
    if ((flags & FLAG_VERSION_MASK) !== FLAG_VERSION)
      throw new VhostUserError(`a message with flags ${flags} is not of version ${FLAG_VERSION}`);
    const bytes = data.buffer.slice(data.byteOffset + HEADER_SIZE, data.byteOffset + this.#filled);
    this.#filled = 0;
    return { request: data.getUint32(0, true), flags, payload: new DataView(bytes), fds: this.#reader.take() };
  }

  /**
   * Replies to `request`.
   * @throws VhostUserError if the front-end is gone or does not read its replies
   */
  reply(request: number, payload: Uint8Array): void {
    const bytes = Buffer.alloc(HEADER_SIZE + payload.length);
    bytes.writeUInt32LE(request, 0);
    bytes.writeUInt32LE(FLAG_VERSION | FLAG_REPLY, 4);
    bytes.writeUInt32LE(payload.length, 8);
    bytes.set(payload, HEADER_SIZE);
    // A reply has a few hundred bytes. A full socket means that the front-end does not read.
    // Node.js ignores SIGPIPE.
    const count = libc.write(this.fd, bytes, bytes.length);
    if (count !== bytes.length) throw new VhostUserError('the front-end does not read its replies');
  }

  [Symbol.dispose](): void {
    this.#reader[Symbol.dispose]();
    libc.close(this.fd);
  }
}
