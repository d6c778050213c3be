// Requests of rtnetlink(7): what a kernel tells of a network namespace, and changes of it. The socket
// belongs to the network namespace in which it was made.
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import * as libc from '../host/libc.js';

const HEADER = 16;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP_INTR = 0x10;
const NLM_F_DUMP = 0x300;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

/** Length and type, before each attribute. */
const ATTRIBUTE_HEADER = 4;
/** The kernel writes at most 32 KiB at once. */
const BUFFER = 64 * 1024;

/** Is given each message of an answer: its type, and what follows its header, valid during the call only. */
export type MessageVisitor = (type: number, message: Buffer) => void;

export class Netlink implements Disposable {
  readonly #socket: OwnedDescriptor;
  readonly #buffer = Buffer.alloc(BUFFER);
  #sequence = 0;

  /** @param fd from openRouteSocket, owned from now on */
  constructor(fd: number) {
    this.#socket = new OwnedDescriptor(fd);
  }

  /**
   * Asks for all objects of a kind. A kernel without the address family has none.
   * @param body what follows the header of the request
   * @returns false if the objects have changed meanwhile
   * @throws libc.SystemError; Error for a malformed answer
   */
  dump(type: number, body: Buffer, visit: MessageVisitor): boolean {
    try {
      return this.#ask(type, NLM_F_DUMP, body, visit);
    } catch (error) {
      if (error instanceof libc.SystemError && error.errno === libc.EAFNOSUPPORT) return true;
      throw error;
    }
  }

  /** Changes something, or asks for one object. @throws libc.SystemError */
  request(type: number, flags: number, body: Buffer, visit: MessageVisitor = () => {}): void {
    this.#ask(type, flags | NLM_F_ACK, body, visit);
  }

  #ask(type: number, flags: number, body: Buffer, visit: MessageVisitor): boolean {
    const request = Buffer.alloc(HEADER + body.length);
    request.writeUInt32LE(request.length, 0);
    request.writeUInt16LE(type, 4);
    request.writeUInt16LE(NLM_F_REQUEST | flags, 6);
    request.writeUInt32LE(++this.#sequence, 8);
    body.copy(request, HEADER);
    libc.check(libc.write(this.#socket.fd, request, request.length), 'write');
    let isWhole = true;
    for (;;) {
      // The kernel fills the socket before send and read return: there is nothing to wait for.
      const count = libc.check(libc.read(this.#socket.fd, this.#buffer, BUFFER), 'read');
      for (let at = 0; at + HEADER <= count; ) {
        const length = this.#buffer.readUInt32LE(at);
        if (length < HEADER || at + length > count) throw new Error('a message of the kernel is cut short');
        const message = this.#buffer.subarray(at, at + length);
        at += (length + 3) & ~3;
        if (message.readUInt32LE(8) !== this.#sequence) continue;
        if ((message.readUInt16LE(6) & NLM_F_DUMP_INTR) !== 0) isWhole = false;
        const answer = message.readUInt16LE(4);
        if (answer === NLMSG_DONE) return isWhole;
        if (answer === NLMSG_ERROR) {
          const errno = -message.readInt32LE(HEADER);
          if (errno === 0) return isWhole;
          throw new libc.SystemError('netlink', errno);
        }
        visit(answer, message.subarray(HEADER));
      }
    }
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** Calls `visit` for each attribute of a message from `start` on. */
export function eachAttribute(message: Buffer, start: number, visit: (type: number, value: Buffer) => void): void {
  for (let at = start; at + ATTRIBUTE_HEADER <= message.length; ) {
    const length = message.readUInt16LE(at);
    if (length < ATTRIBUTE_HEADER || at + length > message.length) break;
    visit(message.readUInt16LE(at + 2), message.subarray(at + ATTRIBUTE_HEADER, at + length));
    at += (length + 3) & ~3;
  }
}

/** An attribute of a request. Several parts are attributes in it. */
export function attribute(type: number, ...parts: readonly Buffer[]): Buffer {
  const value = Buffer.concat(parts);
  const encoded = Buffer.alloc(ATTRIBUTE_HEADER + ((value.length + 3) & ~3));
  encoded.writeUInt16LE(ATTRIBUTE_HEADER + value.length, 0);
  encoded.writeUInt16LE(type, 2);
  value.copy(encoded, ATTRIBUTE_HEADER);
  return encoded;
}
