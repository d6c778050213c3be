// The guest's TCP: each of its connections ends here, and goes on as a socket of the host. The link
// to the guest is memory, so it needs windows and next to no repetition. Nothing is buffered between
// the two: bytes for the guest stay in the host's socket until the guest has acknowledged them, and
// the guest's are acknowledged once the host's socket has taken them.
import type { EventLoop } from '../../../host/event-loop.js';
import * as libc from '../../../host/libc.js';
import { randomWord } from '../../../host/random.js';
import { Timer } from '../../../host/timer.js';
import type { NetworkSpec } from '../../../machine.js';
import { SocketAddress } from '../../../outside/socket-address.js';
import { type CheckedFrame, HEADROOM } from '../back-end.js';
import { type Frame, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../frame.js';
import type { AddressMap } from './address-map.js';
import { FlowTable, portsOf } from './flow-table.js';
import { type GuestLink, PAYLOAD } from './link.js';
import type { OutsideSockets } from './outside-sockets.js';
import type { Places } from './places.js';
import type { PublishedFd, RelayContext } from './relay-context.js';
import { CLOSED, TcpConnection, type TcpContext } from './tcp-connection.js';
import { parseSynOptions } from './tcp-options.js';
import { abortSocket, Peeker, SendRoom } from './tcp-socket.js';

/** Milliseconds between two looks at what waits for the guest. */
const TICK = 200;
/** Connections that are accepted before others get their turn. */
const ACCEPT_BUDGET = 64;
/**
 * Connections to one port that the guest has not answered yet. Others wait in the listening socket.
 * A guest that gets thousands of SYNs at once answers with SYN cookies. If its answers wait to be
 * read here, then repeated SYNs meet a second state of the same connection, and it is reset.
 */
const MOST_UNANSWERED = 64;

/** A listening socket, and its connections that the guest has not answered. */
interface Door {
  listener: PublishedFd;
  unanswered: number;
  isShut: boolean;
}

export class TcpRelay implements Disposable, TcpContext {
  readonly loop: EventLoop;
  readonly link: GuestLink;
  readonly peeker = new Peeker();
  readonly room = new SendRoom();
  readonly mtu: number;
  readonly #map: AddressMap;
  readonly #places: Places;
  readonly #listeners: readonly PublishedFd[];
  readonly #sockets: OutsideSockets;
  readonly #connections = new FlowTable<TcpConnection>();
  readonly #timer: Timer;
  readonly #address = new SocketAddress();
  readonly #here = new SocketAddress();
  #due: TcpConnection[] = [];
  #isDeferred = false;
  #isWatching = false;
  /** Listeners that found no descriptor or no memory for a client. */
  readonly #waiting = new Set<PublishedFd>();

  /** @param listeners of the published ports, non-blocking. The relay owns them. */
  constructor({ mtu }: Pick<NetworkSpec, 'mtu'>, context: RelayContext, listeners: readonly PublishedFd[]) {
    const { loop, link, map, places, sockets } = context;
    this.loop = loop;
    this.link = link;
    this.mtu = mtu;
    this.#map = map;
    this.#places = places;
    this.#listeners = listeners;
    this.#sockets = sockets;
    this.#timer = new Timer(loop, () => this.#tick());
    for (const listener of listeners) {
      const door = { listener, unanswered: 0, isShut: false };
      loop.add(listener.fd, libc.EPOLLIN, () => this.#accept(door));
    }
  }

  get own(): readonly Uint32Array[] {
    return this.#map.own;
  }

  get now(): number {
    return performance.now();
  }

  /** The guest's driver is gone, and with it all that its kernel knew of connections. */
  clear(): void {
    this.#connections.forEach((connection) => {
      connection.close(false);
    });
  }

  /** The guest has room again. */
  resume(): void {
    this.#serve();
  }

  /** Takes a segment of the guest. */
  send(checked: CheckedFrame): void {
    const { frame, bytes } = checked;
    const local = this.#map.localOf(frame.source);
    const ports = portsOf(frame.sourcePort, frame.destinationPort);
    const connection = this.#connections.find(local, frame.destination, ports);
    if (connection !== undefined) connection.segment(checked);
    else if ((frame.tcpFlags & (TCP_SYN | TCP_ACK | TCP_RST)) === TCP_SYN) this.#connect(frame, bytes, local, ports);
    else this.#reset(frame, local, ports);
    this.#flushSoon();
  }

  #connect(frame: Frame, bytes: Uint8Array, local: number, ports: number): void {
    if (!this.#places.take()) {
      this.#reset(frame, local, ports);
      return;
    }
    const connection = this.#add(local, frame.destination.slice(), ports);
    const tcp = HEADROOM + frame.transport;
    connection.wait(bytes, tcp, parseSynOptions(bytes, tcp, frame.payload - frame.transport));
    connection.isAsked = true;
    const { sourcePort, destination, destinationPort } = frame;
    this.#sockets.connect('tcp', sourcePort, destination, destinationPort, (fd) => this.#answered(connection, fd));
  }

  /** @param fd a socket, or the negated errno */
  #answered(connection: TcpConnection, fd: number): void {
    connection.isAsked = false;
    if (connection.state === CLOSED) {
      this.#places.give();
      if (fd >= 0) abortSocket(fd);
    } else if (fd >= 0) connection.begin(fd);
    else connection.refuse();
  }

  #add(local: number, remote: Uint32Array, ports: number): TcpConnection {
    const connection = new TcpConnection(this, local, remote, ports, randomWord() | 0);
    this.#connections.add(connection);
    return connection;
  }

  /** Answers a segment that belongs to no connection (RFC 9293, 3.10.7.1). */
  #reset({ tcpFlags, sequence, acknowledgment, payload, end, destination }: Frame, local: number, ports: number): void {
    if ((tcpFlags & TCP_RST) !== 0 || local < 0) return;
    const hasAck = (tcpFlags & TCP_ACK) !== 0;
    const isOne = (flag: number) => ((tcpFlags & flag) === 0 ? 0 : 1);
    const next = sequence + end - payload + isOne(TCP_SYN) + isOne(TCP_FIN);
    const [number, acknowledged, flags] = hasAck ? [acknowledgment, 0, TCP_RST] : [0, next, TCP_RST | TCP_ACK];
    // One that finds no room is lost: the guest repeats its segment.
    this.link.tcp(destination.slice(), this.own[local]!, ports, number, acknowledged, flags, 0, PAYLOAD, 0);
  }

  #accept(door: Door): void {
    const { listener } = door;
    for (let budget = ACCEPT_BUDGET; budget > 0; budget--) {
      if (door.unanswered >= MOST_UNANSWERED) {
        door.isShut = true;
        this.loop.modify(listener.fd, 0);
        break;
      }
      const address = this.#address.clear();
      const flags = libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC;
      const fd = libc.accept4(listener.fd, address.bytes, address.size, flags);
      if (fd >= 0) {
        this.#accepted(fd, door);
        continue;
      }
      const errno = libc.errno();
      if (errno === libc.EMFILE || errno === libc.ENFILE || errno === libc.ENOBUFS || errno === libc.ENOMEM) {
        // Looked at again in a moment.
        this.loop.modify(listener.fd, 0);
        this.#waiting.add(listener);
        this.watch();
      }
      // Of the others, EAGAIN says that there is none, and the rest are about one client.
      if (errno !== libc.ECONNABORTED && errno !== libc.EINTR) break;
    }
    this.#flushSoon();
  }

  #accepted(fd: number, door: Door): void {
    const guestPort = door.listener.guest;
    const { words, port } = this.#address.read();
    const here = this.#here.clear();
    libc.getsockname(fd, here.bytes, here.size);
    const remote = this.#map.inward(words, here.read().words);
    const local = remote === undefined ? -1 : this.#map.localFor(remote);
    if (remote === undefined || local < 0 || !this.#places.take()) {
      abortSocket(fd);
      return;
    }
    // Two clients of this host that connected to different addresses of it may have the same port.
    let seen = port;
    while (this.#connections.find(local, remote, portsOf(guestPort, seen)) !== undefined) seen = (seen % 65535) + 1;
    const connection = this.#add(local, remote, portsOf(guestPort, seen));
    connection.begin(fd);
    door.unanswered++;
    connection.announce(() => {
      door.unanswered--;
      if (door.isShut) this.loop.modify(door.listener.fd, libc.EPOLLIN);
      door.isShut = false;
    });
  }

  later(connection: TcpConnection): void {
    if (!connection.queued) {
      connection.queued = true;
      this.#due.push(connection);
    }
    this.#flushSoon();
  }

  /** Serves what is due, and notifies the guest, once at the end of this turn. */
  #flushSoon(): void {
    if (this.#isDeferred) return;
    this.#isDeferred = true;
    this.loop.defer(() => {
      this.#isDeferred = false;
      this.#serve();
    });
  }

  #serve(): void {
    if (!this.link.full) {
      const due = this.#due;
      this.#due = [];
      for (const connection of due) {
        connection.queued = false;
        if (this.link.full || !connection.serve()) this.later(connection);
      }
    }
    this.link.receiver?.flush();
  }

  watch(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    this.#timer.set(TICK);
  }

  #tick(): void {
    this.#isWatching = false;
    for (const { fd } of this.#waiting) this.loop.modify(fd, libc.EPOLLIN);
    this.#waiting.clear();
    let waits = false;
    this.#connections.forEach((connection) => {
      if (connection.tick()) waits = true;
    });
    if (waits) this.watch();
    this.#flushSoon();
  }

  refuse(connection: TcpConnection, received: number): void {
    const { remote, local, ports } = connection;
    this.link.tcp(remote, this.own[local]!, ports, 0, received, TCP_RST | TCP_ACK, 0, PAYLOAD, 0);
    this.#flushSoon();
  }

  remove(connection: TcpConnection): void {
    this.#connections.delete(connection);
    if (!connection.isAsked) this.#places.give();
  }

  /** Bytes that the host's sockets have taken are still sent. */
  [Symbol.dispose](): void {
    this.clear();
    this.#timer[Symbol.dispose]();
    for (const { fd } of this.#listeners) {
      this.loop.remove(fd);
      libc.close(fd);
    }
    this.peeker[Symbol.dispose]();
  }
}
