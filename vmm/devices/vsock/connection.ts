// One stream between a guest's port and a host's unix socket: credit both ways (virtio 1.2,
// 5.10.6.3 "Buffer Space Management"), and how far each direction has been shut down. Counts of
// bytes are modulo 2^32, as on the wire.
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import type { BufferList } from '../../virtio/buffers.js';
import { Backlog } from './backlog.js';
import { SHUTDOWN_BOTH, VIRTIO_VSOCK_SHUTDOWN_RCV, VIRTIO_VSOCK_SHUTDOWN_SEND } from './packet.js';

/** Bytes of buffer that each connection grants the guest. A Linux guest uses no more by default. */
export const BUFFER_ALLOCATION = 256 * 1024;
/** The same for a connection that is one of many. */
export const SMALL_ALLOCATION = 64 * 1024;

/** Packets that a connection still has to send to the guest, as bits. Lower bits are sent first. */
export const OWES_REQUEST = 1;
export const OWES_RESPONSE = 2;
export const OWES_CREDIT_UPDATE = 4;
export const OWES_CREDIT_REQUEST = 8;
export const OWES_SHUTDOWN = 16;

/**
 * What reading from the socket waits for:
 * - `response`: the guest's RESPONSE.
 * - `socket`: bytes on the socket, which is polled.
 * - `buffers`: buffers in the rx queue.
 * - `credit`: credit from the guest.
 * - `done`: nothing. The socket is at its end, or the guest receives no more.
 */
export type Reading = 'response' | 'socket' | 'buffers' | 'credit' | 'done';

const DISCARD = new Uint8Array(64 * 1024);
const UNREGISTERED = -1;

/**
 * Closes a socket so that its peer sees an end of file and no reset, even if bytes of the peer were
 * not read.
 */
function closeSocket(fd: number): void {
  // The kernel resets the peer if a unix socket is closed with unread bytes. After the shutdown, no
  // more can arrive.
  libc.shutdown(fd, libc.SHUT_RD);
  while (libc.read(fd, DISCARD, DISCARD.length) > 0);
  libc.close(fd);
}

export class Connection {
  /** Packets owed, as OWES_ bits. */
  owes = 0;
  /** True if it is in the list of connections that owe packets. */
  listed = false;
  /** True once the guest may reuse the port: this connection sends it no more packets. */
  forgotten = false;
  reading: Reading;
  /** Number of rx buffers for the next read of the socket. Adapts to the last reads. */
  batch = 1;
  /** VIRTIO_VSOCK_SHUTDOWN_ bits that we told, or owe, the guest. */
  hostShutdown = 0;
  /** VIRTIO_VSOCK_SHUTDOWN_ bits that the guest told us. */
  guestShutdown = 0;

  /** Bytes the guest sent; bytes of them that left our room; the latter as the guest knows it. */
  #received = 0;
  #forwarded = 0;
  #advertised = 0;
  /** Bytes sent to the guest; its room; bytes of them that left its room. */
  #sent = 0;
  #peerAllocation = 0;
  #peerForwarded = 0;

  #fd: number;
  readonly #loop: EventLoop;
  readonly #onEvents: (connection: Connection, events: number) => void;
  #backlog: Backlog | undefined;
  #interest = UNREGISTERED;
  #hungUp = false;
  /** The socket accepts no more data: the guest's bytes are dropped. */
  #writeClosed = false;

  /**
   * Takes ownership of `fd`, a non-blocking unix socket. `onEvents` gets its events while it is
   * {@link poll}ed.
   */
  constructor(
    fd: number,
    readonly hostPort: number,
    readonly guestPort: number,
    loop: EventLoop,
    onEvents: (connection: Connection, events: number) => void,
    initiatedByHost: boolean,
    /** Bytes of buffer that it grants the guest. */
    readonly allocation: number,
  ) {
    this.#fd = fd;
    this.#loop = loop;
    this.#onEvents = onEvents;
    this.reading = initiatedByHost ? 'response' : 'socket';
    this.owes = initiatedByHost ? OWES_REQUEST : OWES_RESPONSE;
  }

  get established(): boolean {
    return this.reading !== 'response';
  }

  /** True if the socket is closed. */
  get closed(): boolean {
    return this.#fd < 0;
  }

  /** Bytes from the guest that wait for the socket. */
  get backlogLength(): number {
    return this.#backlog?.length ?? 0;
  }

  /** True if the guest has shut down both directions and all its bytes were delivered. */
  get finished(): boolean {
    return this.guestShutdown === SHUTDOWN_BOTH && this.backlogLength === 0;
  }

  /** Returns the forward count for the next packet to the guest. */
  takeForwardCount(): number {
    this.#advertised = this.#forwarded;
    this.owes &= ~OWES_CREDIT_UPDATE;
    return this.#forwarded;
  }

  /** Records the buffer space that a packet of the guest reports. */
  updatePeer(allocation: number, forwarded: number): void {
    this.#peerAllocation = allocation;
    this.#peerForwarded = forwarded;
  }

  /** Bytes that may be sent to the guest; 0 if its forward count is not valid. */
  get peerCredit(): number {
    return Math.max(0, this.#peerAllocation - ((this.#sent - this.#peerForwarded) >>> 0));
  }

  /** Uses `length` bytes of the guest's credit. */
  countSent(length: number): void {
    this.#sent = (this.#sent + length) >>> 0;
  }

  /**
   * Takes `length` bytes from the guest, at `offset` of `source`. Writes what it can to the socket,
   * the rest to the backlog. Returns false if the guest had no credit for them, or had shut down
   * sending.
   */
  receive(source: BufferList, offset: number, length: number, iovecs: Uint32Array): boolean {
    if ((this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) !== 0 || !this.established) return false;
    if (((this.#received - this.#advertised) >>> 0) + length > this.allocation) return false;
    this.#received = (this.#received + length) >>> 0;
    let written = 0;
    if (this.backlogLength === 0 && !this.#writeClosed && length > 0) {
      written = libc.writev(this.#fd, iovecs, source.iovecs(offset, length, iovecs));
      if (written < 0) {
        written = 0;
        // SIGPIPE is ignored in every Node process.
        if (libc.errno() !== libc.EAGAIN && libc.errno() !== libc.EINTR) this.#closeWriting();
      }
    }
    if (this.#writeClosed) written = length;
    else if (written < length) {
      this.#backlog ??= new Backlog(this.allocation);
      this.#backlog.append(source, offset + written, length - written);
      this.poll();
    }
    this.#forward(written);
    return true;
  }

  /** Writes the backlog, after the socket became writable. */
  flush(): void {
    if (this.#backlog === undefined) return;
    const written = this.#backlog.writeTo(this.#fd);
    if (written < 0) this.#closeWriting();
    else this.#forward(written);
    this.#afterFlush();
  }

  #forward(length: number): void {
    this.#forwarded = (this.#forwarded + length) >>> 0;
    // Reports each quarter of the guest's window: rarely, and long before it is used up.
    const window = Math.min(this.allocation, this.#peerAllocation);
    const untold = (this.#forwarded - this.#advertised) >>> 0;
    if (untold > 0 && untold >= window / 4) this.owes |= OWES_CREDIT_UPDATE;
  }

  #afterFlush(): void {
    if (this.backlogLength === 0 && (this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) !== 0 && this.#fd >= 0) {
      libc.shutdown(this.#fd, libc.SHUT_WR);
    }
    this.poll();
  }

  /** The socket accepts no more data: drops the guest's bytes and tells the guest. */
  #closeWriting(): void {
    if (this.#writeClosed) return;
    this.#writeClosed = true;
    this.#forward(this.#backlog?.clear() ?? 0);
    if ((this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) === 0) this.#tellShutdown(VIRTIO_VSOCK_SHUTDOWN_RCV);
  }

  /** The socket has hung up: it cannot be written, but the bytes in it can be read. */
  hangUp(): void {
    this.#hungUp = true;
    this.#closeWriting();
    this.poll();
  }

  /** The socket is at its end of file, or broken. */
  endReading(): void {
    if (this.reading === 'done') return;
    this.reading = 'done';
    this.#tellShutdown(VIRTIO_VSOCK_SHUTDOWN_SEND);
    this.poll();
  }

  #tellShutdown(flags: number): void {
    this.hostShutdown |= flags;
    this.owes |= OWES_SHUTDOWN;
  }

  /** The guest shuts down its side, once what it sent has gone to the socket. */
  shutdownByGuest(flags: number): void {
    this.guestShutdown |= flags & SHUTDOWN_BOTH;
    if ((flags & VIRTIO_VSOCK_SHUTDOWN_RCV) !== 0 && this.reading !== 'done') {
      this.reading = 'done';
      libc.shutdown(this.#fd, libc.SHUT_RD);
    }
    this.#afterFlush();
  }

  /** The guest accepted the host's connection. Returns false if there was no request. */
  establish(): boolean {
    if (this.established) return false;
    this.reading = 'socket';
    // A fresh socket has room for the line.
    const line = Buffer.from(`OK ${this.hostPort}\n`);
    libc.write(this.#fd, line, line.length);
    this.poll();
    return true;
  }

  /** Sets what reading waits for, unless it is done. */
  waitFor(what: Reading): void {
    if (this.reading === 'done') return;
    this.reading = what;
    this.poll();
  }

  /** Reads the socket into iovecs: as readv(2). */
  readInto(iovecs: Uint32Array, count: number): number {
    return libc.readv(this.#fd, iovecs, count);
  }

  /**
   * Registers the socket's events with the event loop, or closes the socket if there is nothing to
   * wait for.
   */
  poll(): void {
    if (this.#fd < 0) return;
    const writing = this.backlogLength > 0;
    const sendsNoMore = this.#writeClosed || ((this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) !== 0 && !writing);
    if (this.reading === 'done' && sendsNoMore) {
      this.close();
      return;
    }
    const interest = (this.reading === 'socket' ? libc.EPOLLIN : 0) | (writing ? libc.EPOLLOUT : 0);
    // epoll reports a hang-up repeatedly, whatever events were asked for.
    const wanted = interest === 0 && this.#hungUp ? UNREGISTERED : interest;
    if (wanted === this.#interest) return;
    if (wanted === UNREGISTERED) this.#loop.remove(this.#fd);
    else if (this.#interest === UNREGISTERED) this.#loop.add(this.#fd, wanted, this.#dispatch);
    else this.#loop.modify(this.#fd, wanted);
    this.#interest = wanted;
  }

  readonly #dispatch = (events: number) => this.#onEvents(this, events);

  /** Closes the socket. The bytes in the backlog are lost. */
  close(): void {
    if (this.#fd < 0) return;
    if (this.#interest !== UNREGISTERED) this.#loop.remove(this.#fd);
    this.#interest = UNREGISTERED;
    closeSocket(this.#fd);
    this.#fd = -1;
    this.#writeClosed = true;
    this.#backlog = undefined;
    this.reading = 'done';
  }
}
