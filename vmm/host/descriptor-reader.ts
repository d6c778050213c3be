// Reads a unix socket: its bytes, and the open files that were sent along (unix(7), SCM_RIGHTS).
import * as libc from './libc.js';

// Layout of the memory for system calls: `struct msghdr`, `struct iovec`, control messages, data.
const IOVEC = 64;
const CONTROL = 128;
/** `struct cmsghdr`: u64 length, i32 level, i32 type. */
const CMSG_HEADER_SIZE = 16;
/** The most descriptors of one message (Linux, SCM_MAX_FD). */
const MAX_DESCRIPTORS = 253;
const CONTROL_SIZE = CMSG_HEADER_SIZE + MAX_DESCRIPTORS * 4;
const DATA = 2048;

// `struct msghdr` in bytes.
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_FLAGS = 48;

/** Does not own the socket. Owns the descriptors until they are taken. */
export class DescriptorReader implements Disposable {
  /** What `receive` fills. */
  readonly data: DataView;
  readonly #address: number;
  readonly #size: number;
  readonly #header: DataView;
  readonly #descriptors: number[] = [];

  /** @param capacity bytes that `data` has */
  constructor(
    readonly fd: number,
    capacity: number,
  ) {
    const prot = libc.PROT_READ | libc.PROT_WRITE;
    const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS;
    this.#size = DATA + capacity;
    this.#address = libc.check(libc.mmap(null, this.#size, prot, flags, -1, 0), 'mmap');
    const memory = libc.viewMemory(this.#address, this.#size);
    this.#header = new DataView(memory, 0, DATA);
    this.data = new DataView(memory, DATA);
    this.#setAddress(MSG_IOV, this.#address + IOVEC);
    this.#setAddress(MSG_IOVLEN, 1);
    this.#setAddress(MSG_CONTROL, this.#address + CONTROL);
  }

  #setAddress(at: number, value: number): void {
    this.#header.setUint32(at, value % 2 ** 32, true);
    this.#header.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
  }

  /**
   * Receives at most `length` bytes into `data` at `at`, and keeps the descriptors. Never blocks.
   * @returns the number of bytes, 0 at the end of the stream; a negative errno
   */
  receive(at: number, length: number): number {
    this.#setAddress(IOVEC, this.#address + DATA + at);
    this.#setAddress(IOVEC + 8, length);
    this.#setAddress(MSG_CONTROLLEN, CONTROL_SIZE);
    this.#header.setUint32(MSG_FLAGS, 0, true);
    const count = libc.recvmsg(this.fd, this.#address, libc.MSG_DONTWAIT | libc.MSG_CMSG_CLOEXEC);
    if (count < 0) return -libc.errno();
    this.#receiveDescriptors();
    return count;
  }

  #receiveDescriptors(): void {
    // The kernel puts all descriptors into one control message.
    if (this.#header.getUint32(MSG_CONTROLLEN, true) < CMSG_HEADER_SIZE) return;
    const length = this.#header.getUint32(CONTROL, true) - CMSG_HEADER_SIZE;
    const isRights =
      this.#header.getInt32(CONTROL + 8, true) === libc.SOL_SOCKET &&
      this.#header.getInt32(CONTROL + 12, true) === libc.SCM_RIGHTS;
    for (let at = 0; isRights && at < length; at += 4) {
      this.#descriptors.push(this.#header.getInt32(CONTROL + CMSG_HEADER_SIZE + at, true));
    }
  }

  /** Number of descriptors that are kept. */
  get descriptors(): number {
    return this.#descriptors.length;
  }

  /**
   * Returns the descriptors that are kept, in the order in which they were sent, or the first of
   * them. The caller owns them.
   */
  take(count = this.#descriptors.length): number[] {
    return this.#descriptors.splice(0, count);
  }

  [Symbol.dispose](): void {
    for (const fd of this.take()) libc.close(fd);
    libc.munmap(this.#address, this.#size);
  }
}
