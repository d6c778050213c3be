// The host's side of a TCP connection: a non-blocking socket (tcp(7)).
import * as libc from '../../../host/libc.js';
import { setIovec } from '../../../virtio/buffers.js';

/** Edge-triggered, so that data that stay in the socket do not wake the event loop again. */
export const SOCKET_EVENTS = libc.EPOLLIN | libc.EPOLLOUT | libc.EPOLLRDHUP | libc.EPOLLET;

const one = Int32Array.of(1);
const value = new Int32Array(1);
const size = new Int32Array(1);
/** `struct linger`: on, 0 seconds. */
const ABORT = Int32Array.of(1, 0);
/** linux/sock_diag.h, enum sk_meminfo_vars. */
const meminfo = new Uint32Array(9);
const SK_MEMINFO_SNDBUF = 3;
const SK_MEMINFO_WMEM_QUEUED = 5;

/** `struct msghdr` in 32-bit words, and its length. */
const MESSAGE_WORDS = 14;
const MAX_IOVECS = 17;
/** Bytes of memory that skipped data are copied to, again and again. */
const DISCARD = 64 * 1024;

/** Sets the options of a connection's socket. */
export function prepareSocket(fd: number): void {
  // The guest's own TCP decides when to send.
  libc.setsockopt(fd, libc.IPPROTO_TCP, libc.TCP_NODELAY, one, 4);
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_KEEPALIVE, one, 4);
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_OOBINLINE, one, 4);
}

/** Returns the socket's pending error and clears it. */
export function takeError(fd: number): number {
  size[0] = 4;
  value[0] = 0;
  libc.getsockopt(fd, libc.SOL_SOCKET, libc.SO_ERROR, value, size);
  return value[0]!;
}

/** Closes the socket. Its peer gets a reset. */
export function abortSocket(fd: number): void {
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_LINGER, ABORT, 8);
  libc.close(fd);
}

/** What the kernel holds of a socket's outgoing data. Bytes, with the kernel's own structures. */
export class SendRoom {
  limit = 0;
  queued = 0;

  read(fd: number): this {
    size[0] = meminfo.byteLength;
    if (libc.getsockopt(fd, libc.SOL_SOCKET, libc.SO_MEMINFO, meminfo, size) < 0) meminfo.fill(0);
    this.limit = meminfo[SK_MEMINFO_SNDBUF]!;
    this.queued = meminfo[SK_MEMINFO_WMEM_QUEUED]!;
    return this;
  }

  /**
   * Bytes that the socket takes for certain. Half of the room is left for the kernel's structures.
   * Limited so that the kernel reports a socket writable again (two thirds are free) before less
   * than half of the limit is left.
   */
  get window(): number {
    const free = Math.max(0, this.limit - this.queued);
    return Math.min(free >>> 1, Math.floor(this.limit * 0.3));
  }

  /** False if the kernel reports when the socket becomes writable. */
  get isWritable(): boolean {
    return this.limit - this.queued >= this.queued >>> 1;
  }
}

/** Reads from sockets without taking the data: the host holds them until the guest has them. */
export class Peeker implements Disposable {
  readonly #length = DISCARD + 4096;
  readonly #memory: number;
  /** `struct msghdr`, and the iovecs after it. */
  readonly #words: Uint32Array;
  readonly #iovecs: Uint32Array;

  constructor() {
    const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS;
    this.#memory = libc.check(libc.mmap(null, this.#length, libc.PROT_READ | libc.PROT_WRITE, flags, -1, 0), 'mmap');
    this.#words = new Uint32Array(libc.viewMemory(this.#memory + DISCARD, 4096));
    this.#iovecs = this.#words.subarray(MESSAGE_WORDS);
  }

  /**
   * Copies up to `length` bytes after the first `skip` of the socket's data to `address`.
   * @returns the number of bytes, including those skipped; 0 at the end of the stream, -1 on error
   */
  peek(fd: number, skip: number, address: number, length: number): number {
    const iovecs = this.#iovecs;
    let count = 0;
    for (let left = skip; left > 0; left -= DISCARD) setIovec(iovecs, this.#memory, Math.min(left, DISCARD), count++);
    setIovec(iovecs, address, length, count++);
    return this.#receive(fd, count, libc.MSG_PEEK);
  }

  /** Takes the first `length` bytes of the socket's data, which the guest has acknowledged. */
  discard(fd: number, length: number): void {
    if (length === 0) return;
    // The kernel copies nothing.
    setIovec(this.#iovecs, 0, length);
    this.#receive(fd, 1, libc.MSG_TRUNC);
  }

  /** By recvmsg alone, which the process needs for descriptors too. */
  #receive(fd: number, iovecs: number, flags: number): number {
    this.#words.fill(0, 0, MESSAGE_WORDS);
    setIovec(this.#words, this.#memory + DISCARD + MESSAGE_WORDS * 4, iovecs, 1);
    return libc.recvmsg(fd, this.#memory + DISCARD, flags | libc.MSG_DONTWAIT);
  }

  [Symbol.dispose](): void {
    libc.munmap(this.#memory, this.#length);
  }
}

/** The most bytes that {@link Peeker.peek} can skip. */
export const MAX_SKIP = DISCARD * (MAX_IOVECS - 1);
