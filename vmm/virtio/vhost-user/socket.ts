// The back-end's socket of a vhost-user connection: whole messages with their file descriptors
// (unix(7), SCM_RIGHTS).
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

// Layout of a page for system calls: `struct msghdr`, `struct iovec`, control messages, the
// message.
const SCRATCH_SIZE = 4096;
const IOVEC = 64;
const CONTROL = 128;
const DATA = 256;
/** `struct cmsghdr`: u64 length, i32 level, i32 type. */
const CMSG_HEADER_SIZE = 16;
const CONTROL_SIZE = CMSG_HEADER_SIZE + MAX_REGIONS * 4;

// `struct msghdr` in bytes.
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_FLAGS = 48;

/** Owns the socket, which may be in blocking mode. */
export class VhostUserSocket implements Disposable {
  readonly #scratch: number;
  readonly #view: DataView;
  #filled = 0;
  #fds: number[] = [];

  constructor(readonly fd: number) {
    const prot = libc.PROT_READ | libc.PROT_WRITE;
    const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS;
    this.#scratch = libc.check(libc.mmap(null, SCRATCH_SIZE, prot, flags, -1, 0), 'mmap');
    this.#view = new DataView(libc.viewMemory(this.#scratch, SCRATCH_SIZE));
    this.#setAddress(MSG_IOV, this.#scratch + IOVEC);
    this.#setAddress(MSG_IOVLEN, 1);
    this.#setAddress(MSG_CONTROL, this.#scratch + CONTROL);
  }

  #setAddress(at: number, value: number): void {
    this.#view.setUint32(at, value % 2 ** 32, true);
    this.#view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
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
    const size = this.#view.getUint32(DATA + 8, true);
    if (size > MAX_PAYLOAD)
      throw new VhostUserError(`a message has ${size} bytes of payload; at most ${MAX_PAYLOAD} are allowed`);
    return HEADER_SIZE + size;
  }

  #receiveBytes(length: number): number | undefined {
    this.#setAddress(IOVEC, this.#scratch + DATA + this.#filled);
    this.#setAddress(IOVEC + 8, length);
    this.#setAddress(MSG_CONTROLLEN, CONTROL_SIZE);
    this.#view.setUint32(MSG_FLAGS, 0, true);
    const count = libc.recvmsg(this.fd, this.#scratch, libc.MSG_DONTWAIT | libc.MSG_CMSG_CLOEXEC);
    if (count < 0) {
      const errno = libc.errno();
      if (errno === libc.EAGAIN) return undefined;
      if (errno === libc.EINTR) return 0;
      throw new FrontEndGone({ cause: new libc.SystemError('recvmsg', errno) });
    }
    this.#receiveFds();
    if (count === 0) throw new FrontEndGone();
    return count;
  }

  #receiveFds(): void {
    // The kernel puts all descriptors into one control message.
    if (this.#view.getUint32(MSG_CONTROLLEN, true) >= CMSG_HEADER_SIZE) {
      const length = this.#view.getUint32(CONTROL, true) - CMSG_HEADER_SIZE;
      const isRights =
        this.#view.getInt32(CONTROL + 8, true) === libc.SOL_SOCKET &&
        this.#view.getInt32(CONTROL + 12, true) === libc.SCM_RIGHTS;
      for (let at = 0; isRights && at < length; at += 4) {
        this.#fds.push(this.#view.getInt32(CONTROL + CMSG_HEADER_SIZE + at, true));
      }
    }
    if ((this.#view.getUint32(MSG_FLAGS, true) & libc.MSG_CTRUNC) !== 0 || this.#fds.length > MAX_REGIONS) {
      throw new VhostUserError(`a message has more than ${MAX_REGIONS} file descriptors`);
    }
  }

  #take(): Message {
    const flags = this.#view.getUint32(DATA + 4, true);
    if ((flags & FLAG_VERSION_MASK) !== FLAG_VERSION)
      throw new VhostUserError(`a message with flags ${flags} is not of version ${FLAG_VERSION}`);
    const bytes = this.#view.buffer.slice(DATA + HEADER_SIZE, DATA + this.#filled);
    const fds = this.#fds;
    this.#filled = 0;
    this.#fds = [];
    return { request: this.#view.getUint32(DATA, true), flags, payload: new DataView(bytes), fds };
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
    const count = libc.send(this.fd, bytes, bytes.length, libc.MSG_DONTWAIT | libc.MSG_NOSIGNAL);
    if (count !== bytes.length) throw new VhostUserError('the front-end does not read its replies');
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) libc.close(fd);
    libc.close(this.fd);
    libc.munmap(this.#scratch, SCRATCH_SIZE);
  }
}
