// One TCP connection (RFC 9293) between the guest and a socket of the host. The link to the guest
// loses nothing in general. Data for the guest stay in the host's socket until the guest has
// acknowledged them. Data of the guest are acknowledged when the host's socket has taken them, so
// there is no buffer between.
import type { EventLoop } from '../../../host/event-loop.js';
import * as libc from '../../../host/libc.js';
import { allocateIovecs, setIovec } from '../../../virtio/buffers.js';
import { type CheckedFrame, HEADROOM } from '../back-end.js';
import { TCP_ACK, TCP_RST, TCP_SYN, u16, u32 } from '../frame.js';
import type { Flow } from './flow-table.js';
import { type GuestLink, PAYLOAD, ROOM } from './link.js';
import { parseSynOptions, type SynOptions, writeSynOptions } from './tcp-options.js';
import {
  abortSocket,
  MAX_SKIP,
  type Peeker,
  prepareSocket,
  type SendRoom,
  SOCKET_EVENTS,
  takeError,
} from './tcp-socket.js';

const TCP_FIN = 1;
const TCP_PSH = 8;

/** The host's socket has not come yet; it is connecting. The guest waits for the answer to its SYN. */
export const WAITING = 0;
export const CONNECTING = 1;
/** Our SYN, our answer to the guest's SYN, is not acknowledged yet. */
export const SYN_SENT = 2;
export const SYN_RECEIVED = 3;
/** Open in both directions, or in one. */
export const OPEN = 4;
export const CLOSED = 5;

/** Of the windows that we offer: 2^8 bytes. */
const SCALE = 8;
/** RFC 7323, 2.3. */
const MAX_SCALE = 14;
/** Bytes that the guest has not acknowledged. */
const MAX_IN_FLIGHT = Math.min(512 * 1024, MAX_SKIP);
/**
 * With more in flight, nothing is read: each read copies what is in flight again.
 */
const FEW_IN_FLIGHT = MAX_IN_FLIGHT / 4;
/** The largest payload of a frame with either IP header. */
const MAX_SEGMENT = 65535 - 60;
/** Segments that one connection may send in one turn of the event loop. */
const BUDGET = 16;
const MAX_IOVECS = 258;
const DUPLICATES = 3;

/** Milliseconds. The guest answers in the microseconds that its CPU needs. */
const FIRST_TIMEOUT = 1000;
const FIRST_SYN_TIMEOUT = 250;
const MAX_TIMEOUT = 60_000;
/** As long as Linux's own for a SYN: about two minutes. */
const MAX_SYN_TRIES = 9;
const MAX_CONNECTING = 130_000;

/** What all connections share. */
export interface TcpContext {
  loop: EventLoop;
  link: GuestLink;
  peeker: Peeker;
  room: SendRoom;
  /** The guest's addresses. */
  own: readonly Uint32Array[];
  /** Of the link. */
  mtu: number;
  /** Milliseconds. */
  now: number;
  /** Calls {@link TcpConnection.serve} later in this turn, or when the guest has room again. */
  later(connection: TcpConnection): void;
  /** Starts the timer, if it does not run. */
  watch(): void;
  /** The host could not connect. @param received the next sequence number of the guest */
  refuse(connection: TcpConnection, received: number): void;
  /** The connection has ended. */
  remove(connection: TcpConnection): void;
}

const iovecs = allocateIovecs(MAX_IOVECS);

export class TcpConnection implements Flow {
  next: Flow | undefined = undefined;
  /** {@link TcpContext.later} has it. */
  queued = false;
  /** Its socket was asked for and has not come. */
  isAsked = false;
  state = WAITING;
  readonly #context: TcpContext;
  #fd = -1;
  /** Sequence numbers of our data: the first not acknowledged, the next, the highest sent. */
  #una: number;
  #nxt: number;
  #max: number;
  /** The next sequence number of the guest's data. */
  #received = 0;
  /** The right edge of the window that we offered. */
  #edge = 0;
  /** The guest's window and its scale, and the guest's maximum segment size. */
  #window = 0;
  #scale = 0;
  #scales = false;
  #mss = 536;
  #finSent = false;
  /** Our FIN was sent once, as the last number before #max. */
  #finKnown = false;
  #finReceived = false;
  /** The socket may have data; it has all that will come; it has failed. */
  #readable = true;
  #ended = false;
  #failed = false;
  /** The event loop will report room in the socket. */
  #waitsForRoom = false;
  #synDue = false;
  #ackDue = false;
  #onSettled: (() => void) | undefined;
  /**
   * The guest has shown that it knows the connection. Before, its SYN cookie may be all that there is
   * of it (its server is slow to accept): it resets what is not at the first number.
   */
  #isKnown = true;
  #duplicates = 0;
  #tries = 0;
  /** When the guest last made progress, or was last reminded. */
  #since: number;

  /** @param sequence our initial sequence number */
  constructor(
    context: TcpContext,
    readonly local: number,
    readonly remote: Uint32Array,
    readonly ports: number,
    sequence: number,
  ) {
    this.#context = context;
    this.#una = sequence | 0;
    this.#nxt = this.#una;
    this.#max = this.#una;
    this.#since = context.now;
  }

  /** Takes ownership of the socket, which connects or is connected. */
  begin(fd: number): void {
    this.#fd = fd;
    this.state = CONNECTING;
    prepareSocket(fd);
    this.#context.loop.add(fd, SOCKET_EVENTS, (events) => this.#onEvents(events));
  }

  /** The host cannot connect. */
  refuse(): void {
    this.#context.refuse(this, this.#received);
    this.close(false);
  }

  /** The guest's SYN, which waits for the host's connection. */
  wait(bytes: Uint8Array, tcp: number, options: SynOptions): void {
    this.#received = (u32(bytes, tcp + 4) + 1) | 0;
    this.#edge = this.#received;
    this.#window = u16(bytes, tcp + 14);
    this.#take(options);
    this.#context.watch();
  }

  /**
   * A client's connection to a published port, of which the guest is told.
   * @param onSettled the guest has answered, or did not in time, or the connection has ended
   */
  announce(onSettled: () => void): void {
    this.#onSettled = onSettled;
    this.#isKnown = false;
    this.state = SYN_SENT;
    this.#nxt = (this.#una + 1) | 0;
    this.#max = this.#nxt;
    this.#sendSyn();
    this.#context.watch();
  }

  #settle(): void {
    const onSettled = this.#onSettled;
    this.#onSettled = undefined;
    onSettled?.();
  }

  #take({ mss, scale }: SynOptions): void {
    this.#mss = Math.max(mss, 536);
    this.#scales = scale >= 0;
    this.#scale = Math.min(Math.max(scale, 0), MAX_SCALE);
  }

  #onEvents(events: number): void {
    if (this.state === CLOSED) return;
    // A server may have said all and closed before it is known here that it accepted.
    if ((events & libc.EPOLLRDHUP) !== 0) this.#ended = true;
    if (this.state === CONNECTING) {
      if ((events & (libc.EPOLLOUT | libc.EPOLLERR | libc.EPOLLHUP)) !== 0) this.#connected();
      return;
    }
    if ((events & (libc.EPOLLIN | libc.EPOLLRDHUP | libc.EPOLLHUP | libc.EPOLLERR)) !== 0) this.#readable = true;
    if ((events & libc.EPOLLERR) !== 0 && takeError(this.#fd) !== 0) this.#failed = true;
    if ((events & libc.EPOLLOUT) !== 0 && this.#waitsForRoom) {
      this.#waitsForRoom = false;
      this.#ackDue = true;
    }
    this.#context.later(this);
  }

  #connected(): void {
    if (takeError(this.#fd) !== 0) {
      this.refuse();
      return;
    }
    this.state = SYN_RECEIVED;
    this.#since = this.#context.now;
    this.#nxt = (this.#una + 1) | 0;
    this.#max = this.#nxt;
    this.#sendSyn();
    // The guest is told of it in this turn.
    this.#context.later(this);
  }

  /** Takes a segment of the guest. `at` is the offset of its TCP header in the frame's bytes. */
  segment(frame: CheckedFrame): void {
    const { bytes } = frame;
    const { payload, end, transport } = frame.frame;
    const tcp = HEADROOM + transport;
    const sequence = u32(bytes, tcp + 4) | 0;
    const ack = u32(bytes, tcp + 8) | 0;
    const flags = bytes[tcp + 13]!;
    const window = u16(bytes, tcp + 14);
    const length = end - payload;
    if (this.state === WAITING || this.state === CONNECTING) {
      if ((flags & TCP_RST) !== 0 && sequence === this.#received) this.close(true);
      return;
    }
    if (this.state === SYN_SENT) {
      this.#answerToSyn(bytes, tcp, sequence, ack, flags, window, payload - transport);
      return;
    }
    const offset = (sequence - this.#received) | 0;
    const room = (this.#edge - this.#received) | 0;
    const whole = length + (flags & TCP_FIN);
    if (whole === 0 ? offset < 0 || offset > room : offset + whole <= 0) {
      // A keep-alive, a probe of our window, or what we have already.
      if ((flags & (TCP_RST | TCP_SYN)) === TCP_SYN && this.state === SYN_RECEIVED && offset === -1) this.#sendSyn();
      else if ((flags & TCP_RST) === 0) this.#acknowledge();
      return;
    }
    if ((flags & TCP_RST) !== 0) {
      // A reset with another number of the window may be forged (RFC 5961, 3.2).
      if (offset === 0) this.close(true);
      else this.#acknowledge();
      return;
    }
    if ((flags & TCP_SYN) !== 0) {
      this.#acknowledge();
      return;
    }
    if ((flags & TCP_ACK) === 0) return;
    if (!this.#acknowledged(ack, window << this.#scale, whole === 0)) return;
    if (whole > 0 && offset > 0) this.#acknowledge();
    else if (whole > 0) this.#data(frame, -offset, length, (flags & TCP_FIN) !== 0);
    if (!this.#finish() && this.state === OPEN) this.#push();
  }

  #answerToSyn(
    bytes: Uint8Array,
    tcp: number,
    sequence: number,
    ack: number,
    flags: number,
    window: number,
    header: number,
  ): void {
    const hasAck = (flags & TCP_ACK) !== 0;
    if (hasAck && ack !== this.#nxt) {
      // A connection that the guest remembers is in the way: it ends, and the guest is asked again.
      if ((flags & TCP_RST) !== 0) return;
      this.#send(TCP_RST, ack, 0);
      if (++this.#tries < MAX_SYN_TRIES) this.#sendSyn();
      return;
    }
    if ((flags & TCP_RST) !== 0) {
      if (hasAck) this.close(true);
      return;
    }
    if ((flags & TCP_SYN) === 0) return;
    this.#received = (sequence + 1) | 0;
    this.#edge = this.#received;
    this.#window = window;
    this.#take(parseSynOptions(bytes, tcp, header));
    if (!hasAck) {
      this.state = SYN_RECEIVED;
      this.#sendSyn();
      return;
    }
    this.#una = this.#nxt;
    this.#open();
    this.#acknowledge();
    this.#context.later(this);
  }

  #open(): void {
    this.state = OPEN;
    this.#settle();
    // A repeated SYN that found no room: the guest has answered an earlier one.
    this.#synDue = false;
    this.#tries = 0;
    this.#since = this.#context.now;
  }

  /** Takes an acknowledgement. Returns false if the segment must not be taken. */
  #acknowledged(ack: number, window: number, isPure: boolean): boolean {
    const ahead = (ack - this.#una) | 0;
    if (this.state === SYN_RECEIVED) {
      if (ahead !== 1) {
        this.#send(TCP_RST, ack, 0);
        return false;
      }
      this.#una = ack;
      this.#window = window;
      this.#open();
      return true;
    }
    if (ahead > ((this.#max - this.#una) | 0)) {
      this.#acknowledge();
      return false;
    }
    // An old one, of which only the data are of interest.
    if (ahead < 0) return true;
    if (ahead > 0) {
      this.#isKnown = true;
      // Our FIN, which is the last number, is not in the socket.
      const isWhole = this.#finKnown && ack === this.#max;
      this.#context.peeker.discard(this.#fd, isWhole ? ahead - 1 : ahead);
      if (isWhole) this.#finSent = true;
      this.#una = ack;
      if (((this.#nxt - ack) | 0) < 0) this.#nxt = ack;
      this.#duplicates = 0;
      this.#tries = 0;
      this.#since = this.#context.now;
    } else if (isPure && window === this.#window && this.#nxt !== this.#una && ++this.#duplicates === DUPLICATES) {
      this.#rewind();
    }
    this.#window = window;
    return true;
  }

  /** Everything that is not acknowledged is sent again. */
  #rewind(): void {
    this.#nxt = this.#una;
    this.#finSent = false;
    this.#readable = true;
  }

  /** Writes the segment's data after the first `skip` bytes to the socket. */
  #data({ memory, copied, rest, offset, frame }: CheckedFrame, skip: number, length: number, fin: boolean): void {
    this.#isKnown = true;
    this.#ackDue = true;
    this.#context.later(this);
    if (this.#finReceived) return;
    const wanted = length - skip;
    if (wanted > 0) {
      const from = frame.payload + skip;
      const near = Math.max(0, Math.min(copied, frame.end) - from);
      let count = 0;
      if (near > 0) setIovec(iovecs, memory + HEADROOM + from, near, count++);
      count += rest.iovecs(offset + Math.max(0, from - copied), wanted - near, iovecs, count);
      const written = libc.writev(this.#fd, iovecs, count);
      if (written < 0 && libc.errno() !== libc.EAGAIN) {
        this.#failed = true;
        return;
      }
      this.#received = (this.#received + Math.max(written, 0)) | 0;
      if (written < wanted) return;
    }
    if (!fin) return;
    this.#received = (this.#received + 1) | 0;
    this.#finReceived = true;
    libc.shutdown(this.#fd, libc.SHUT_WR);
  }

  /** Ends the connection if both directions have ended. */
  #finish(): boolean {
    if (!this.#finReceived || !this.#finSent || this.#una !== this.#max) return false;
    // The guest repeats a FIN whose acknowledgement is lost, and gets a reset.
    this.#sendAck();
    this.close(false);
    return true;
  }

  /** Does what is due. Returns false if the guest has no room. */
  serve(): boolean {
    if (this.state === CLOSED || this.state === WAITING || this.state === CONNECTING) return true;
    if (this.#synDue && !this.#sendSyn()) return false;
    if (this.state === OPEN && !this.#push()) return false;
    if (this.#failed && (this.state === OPEN || this.state === SYN_RECEIVED)) {
      if (!this.#send(TCP_RST | TCP_ACK, this.#nxt, 0)) return false;
      this.close(true);
      return true;
    }
    if (this.#failed && this.state === SYN_SENT) {
      if (!this.#send(TCP_RST, this.#nxt, 0)) return false;
      this.close(true);
      return true;
    }
    return !this.#ackDue || this.#sendAck();
  }

  /** Sends the socket's data, and the end of them. Returns false if the guest has no room. */
  #push(): boolean {
    for (let budget = BUDGET; ; ) {
      const inFlight = (this.#nxt - this.#una) | 0;
      if (!this.#readable || this.#finSent || (inFlight > 0 && !this.#isKnown)) return true;
      if (inFlight > FEW_IN_FLIGHT) return true;
      const want = Math.min(this.#window, MAX_IN_FLIGHT, inFlight + ROOM) - inFlight;
      if (want <= 0 && inFlight > 0) return true;
      if (want <= 0) {
        this.#context.watch();
        return true;
      }
      if (budget <= 0) {
        this.#context.later(this);
        return true;
      }
      const { link } = this.#context;
      const got = this.#context.peeker.peek(this.#fd, inFlight, link.memory + PAYLOAD, want);
      if (got < 0) {
        this.#readable = false;
        if (libc.errno() !== libc.EAGAIN) this.#failed = true;
        if (this.#failed) this.#context.later(this);
        return true;
      }
      const fresh = got - inFlight;
      for (let done = 0; done < fresh; budget--) {
        const most = link.takesSegments ? MAX_SEGMENT : Math.min(this.#mss, MAX_SEGMENT);
        const length = Math.min(fresh - done, most);
        const isLast = done + length === fresh;
        if (!this.#send(isLast ? TCP_ACK | TCP_PSH : TCP_ACK, this.#nxt, length, PAYLOAD + done)) {
          this.#context.later(this);
          return false;
        }
        this.#advance(length);
        if (!this.#isKnown) return true;
        done += length;
      }
      if (fresh === want) continue;
      this.#readable = false;
      if (fresh > 0 && !this.#ended) return true;
      if (fresh <= 0 && got > 0 && !this.#ended) return true;
      if (this.#failed) return true;
      // The socket has no more, and no more will come.
      if (!this.#send(TCP_ACK | TCP_FIN, this.#nxt, 0)) {
        this.#readable = true;
        this.#context.later(this);
        return false;
      }
      this.#finSent = true;
      this.#finKnown = true;
      this.#advance(1);
      return true;
    }
  }

  #advance(length: number): void {
    if (this.#nxt === this.#una) this.#since = this.#context.now;
    this.#nxt = (this.#nxt + length) | 0;
    if (((this.#nxt - this.#max) | 0) > 0) this.#max = this.#nxt;
    this.#context.watch();
  }

  #acknowledge(): void {
    this.#ackDue = true;
    this.#context.later(this);
  }

  #sendAck(): boolean {
    return this.#send(TCP_ACK, this.#isKnown ? this.#nxt : this.#una, 0);
  }

  #sendSyn(): boolean {
    const flags = this.state === SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK;
    const { link } = this.#context;
    const scale = this.state === SYN_SENT || this.#scales ? SCALE : -1;
    const options = writeSynOptions(link.view, PAYLOAD, this.remote, scale, this.#context.mtu);
    this.#synDue = !this.#send(flags, this.#una, 0, PAYLOAD, options);
    if (this.#synDue) this.#context.later(this);
    return !this.#synDue;
  }

  /** Sends a segment. Returns false if the guest has no room. */
  #send(flags: number, sequence: number, length: number, at = PAYLOAD, options = 0): boolean {
    const { link, own } = this.#context;
    const window = (flags & TCP_RST) !== 0 ? 0 : this.#offer((flags & TCP_SYN) !== 0);
    const acknowledged = (flags & TCP_ACK) === 0 ? 0 : this.#received;
    const local = own[this.local]!;
    const { remote, ports } = this;
    const mss = this.#mss;
    if (!link.tcp(remote, local, ports, sequence, acknowledged, flags, window, at, length, options, mss)) return false;
    if ((flags & TCP_ACK) !== 0) this.#ackDue = false;
    return true;
  }

  /** Returns the window field: what the socket takes, and never less than was offered before. */
  #offer(isSyn: boolean): number {
    const room = this.#context.room.read(this.#fd);
    const edge = (this.#received + room.window) | 0;
    if (((edge - this.#edge) | 0) > 0) this.#edge = edge;
    if (!room.isWritable && !this.#waitsForRoom) {
      this.#waitsForRoom = true;
      // Makes the kernel report room.
      this.#context.loop.modify(this.#fd, SOCKET_EVENTS);
    }
    const offered = Math.max(0, (this.#edge - this.#received) | 0);
    const scale = isSyn || !this.#scales ? 0 : SCALE;
    return Math.min(offered >>> scale, 65535);
  }

  /**
   * Repeats what was not acknowledged in time, and asks for a window that does not open. Returns
   * true if the connection waits for the guest.
   */
  tick(): boolean {
    const { now } = this.#context;
    const waited = now - this.#since;
    if (this.state === WAITING || this.state === CONNECTING) {
      if (waited > MAX_CONNECTING) this.close(true);
      return true;
    }
    const first = this.state === OPEN ? FIRST_TIMEOUT : FIRST_SYN_TIMEOUT;
    const isDue = waited > Math.min(first * 2 ** this.#tries, MAX_TIMEOUT);
    if (this.state !== OPEN) {
      if (!isDue) return true;
      this.#since = now;
      this.#settle();
      if (++this.#tries > MAX_SYN_TRIES) this.close(true);
      else this.#sendSyn();
      return true;
    }
    const isUnacknowledged = this.#una !== this.#max;
    const isClosed = this.#window === 0 && this.#readable;
    if (!isUnacknowledged && !isClosed) return false;
    if (!isDue) return true;
    this.#since = now;
    this.#tries++;
    if (isUnacknowledged) {
      if (this.#finSent && this.#tries > MAX_SYN_TRIES) {
        this.#failed = true;
        this.#context.later(this);
        return true;
      }
      this.#rewind();
    }
    // A number that the guest has already makes it answer with its window.
    if (this.#window === 0) this.#send(TCP_ACK, (this.#una - 1) | 0, 0);
    else this.#context.later(this);
    return true;
  }

  /** Closes the socket. @param abort the client gets a reset rather than an end of file */
  close(abort: boolean): void {
    if (this.state === CLOSED) return;
    this.state = CLOSED;
    this.#settle();
    this.#context.remove(this);
    if (this.#fd < 0) return;
    this.#context.loop.remove(this.#fd);
    if (abort) abortSocket(this.#fd);
    else libc.close(this.#fd);
  }
}
