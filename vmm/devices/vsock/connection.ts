// One stream between a guest's port and a host's unix socket: credit both ways (virtio 1.2, 5.10.6.3 "Buffer Space
// Management"), and how far each direction has been shut down. Counts of bytes are modulo 2^32, as on the wire.
import type { EventLoop } from '../../host/event-loop.js';
import * as libc from '../../host/libc.js';
import type { BufferList } from '../../virtio/buffers.js';
import { Backlog } from './backlog.js';
import { SHUTDOWN_BOTH, VIRTIO_VSOCK_SHUTDOWN_RCV, VIRTIO_VSOCK_SHUTDOWN_SEND } from './packet.js';

/** The room that each connection grants the guest, in bytes: what a Linux guest uses by default, so more is unused. */
export const BUFFER_ALLOCATION = 256 * 1024;

/** Packets that a connection owes the guest, as bits; a lower bit is sent before a higher one. */
export const OWES_REQUEST = 1;
export const OWES_RESPONSE = 2;
export const OWES_CREDIT_UPDATE = 4;
export const OWES_CREDIT_REQUEST = 8;
export const OWES_SHUTDOWN = 16;

/**
 * What the socket's readable side waits for: the guest's RESPONSE; bytes on the socket, which is polled; buffers in the rx
 * queue; credit from the guest; or nothing, at the end of file or when the guest receives no more.
 */
export type Reading = 'response' | 'socket' | 'buffers' | 'credit' | 'done';

const DISCARD = new Uint8Array(64 * 1024);
const UNREGISTERED = -1;

/** Closes a socket so that its peer sees the end of file and no reset, although it may have sent bytes nobody read. */
function closeSocket(fd: number): void {
  // The kernel resets the peer of a unix socket that is closed with unread bytes. After this no more can arrive.
  libc.shutdown(fd, libc.SHUT_RD);
  while (libc.read(fd, DISCARD, DISCARD.length) > 0);
  libc.close(fd);
}

export class Connection {
  /** Packets owed, as OWES_ bits. */
  owes = 0;
  /** In the list of connections that owe packets. */
  listed = false;
  /** The guest may use the port again: nothing is sent to it in the name of this connection any more. */
  forgotten = false;
  reading: Reading;
  /** Rx buffers that the next read of the socket is offered: follows how much the last reads found. */
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
  /** Nobody reads what the guest sends: it is dropped. */
  #writeClosed = false;

  /** Takes `fd`, a non-blocking unix socket, over. `onEvents` hears of it while {@link poll}ed. */
  constructor(
    fd: number,
    readonly hostPort: number,
    readonly guestPort: number,
    loop: EventLoop,
    onEvents: (connection: Connection, events: number) => void,
    initiatedByHost: boolean,
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

  /** The socket is closed: nothing goes either way any more. */
  get closed(): boolean {
    return this.#fd < 0;
  }

  /** Bytes of the guest's that the socket has not taken yet. */
  get backlogLength(): number {
    return this.#backlog?.length ?? 0;
  }

  /** Everything the guest sent has gone, and it sends and receives no more. */
  get finished(): boolean {
    return this.guestShutdown === SHUTDOWN_BOTH && this.backlogLength === 0;
  }

  /** The count that the next packet tells the guest. */
  takeForwardCount(): number {
    this.#advertised = this.#forwarded;
    this.owes &= ~OWES_CREDIT_UPDATE;
    return this.#forwarded;
  }

  /** What a packet of the guest's says of its room. */
  updatePeer(allocation: number, forwarded: number): void {
    this.#peerAllocation = allocation;
    this.#peerForwarded = forwarded;
  }

  /** Bytes that may be sent to the guest. A forward count that cannot be gives none. */
  get peerCredit(): number {
    return Math.max(0, this.#peerAllocation - ((this.#sent - this.#peerForwarded) >>> 0));
  }

  /** `length` bytes of the peer's credit are used. */
  countSent(length: number): void {
    this.#sent = (this.#sent + length) >>> 0;
  }

  /**
   * Takes `length` bytes of the guest's from `source`, behind `offset`: to the socket at once, the rest to the backlog.
   * False if the guest had no credit for them, or had said that it would send no more.
   */
  receive(source: BufferList, offset: number, length: number, iovecs: Uint32Array): boolean {
    if ((this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) !== 0 || !this.established) return false;
    if (((this.#received - this.#advertised) >>> 0) + length > BUFFER_ALLOCATION) return false;
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
      this.#backlog ??= new Backlog(BUFFER_ALLOCATION);
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
    // Told in quarters of the window that the guest uses: seldom, and long before it runs dry.
    const window = Math.min(BUFFER_ALLOCATION, this.#peerAllocation);
    const untold = (this.#forwarded - this.#advertised) >>> 0;
    if (untold > 0 && untold >= window / 4) this.owes |= OWES_CREDIT_UPDATE;
  }

  #afterFlush(): void {
    if (this.backlogLength === 0 && (this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) !== 0 && this.#fd >= 0) {
      libc.shutdown(this.#fd, libc.SHUT_WR);
    }
    this.poll();
  }

  /** The socket takes no more: what the guest sends is dropped, and the guest is told. */
  #closeWriting(): void {
    if (this.#writeClosed) return;
    this.#writeClosed = true;
    this.#forward(this.#backlog?.clear() ?? 0);
    if ((this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) === 0) this.#tellShutdown(VIRTIO_VSOCK_SHUTDOWN_RCV);
  }

  /** The socket has hung up: no more can be written, what it still holds can be read. */
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

  /** The guest took the connection that the host asked for; false if it was not asked. */
  establish(): boolean {
    if (this.established) return false;
    this.reading = 'socket';
    // A fresh socket has room for the line.
    const line = Buffer.from(`OK ${this.hostPort}\n`);
    libc.write(this.#fd, line, line.length);
    this.poll();
    return true;
  }

  /** From now on the readable side waits for something else, unless it is done. */
  waitFor(what: Reading): void {
    if (this.reading === 'done') return;
    this.reading = what;
    this.poll();
  }

  /** Reads the socket into iovecs: as readv(2). */
  readInto(iovecs: Uint32Array, count: number): number {
    return libc.readv(this.#fd, iovecs, count);
  }

  /** Has the event loop wait for what the connection waits for, and lets the socket go when it waits for nothing. */
  poll(): void {
    if (this.#fd < 0) return;
    const writing = this.backlogLength > 0;
    const sendsNoMore = this.#writeClosed || ((this.guestShutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) !== 0 && !writing);
    if (this.reading === 'done' && sendsNoMore) {
      this.close();
      return;
    }
    const interest = (this.reading === 'socket' ? libc.EPOLLIN : 0) | (writing ? libc.EPOLLOUT : 0);
    // A hang-up is reported whatever is waited for, again and again.
    const wanted = interest === 0 && this.#hungUp ? UNREGISTERED : interest;
    if (wanted === this.#interest) return;
    if (wanted === UNREGISTERED) this.#loop.remove(this.#fd);
    else if (this.#interest === UNREGISTERED) this.#loop.add(this.#fd, wanted, this.#dispatch);
    else this.#loop.modify(this.#fd, wanted);
    this.#interest = wanted;
  }

  readonly #dispatch = (events: number) => this.#onEvents(this, events);

  /** Closes the socket; what waits in the backlog is lost. */
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
