// The guest's UDP datagrams (RFC 768). Each pair of the guest's port and a remote one has a connected
// socket of the host: the kernel keeps others' datagrams away, and tells whether the remote port is
// unreachable. Datagrams wait here only while the socket is being made. A published port's first
// datagram of a client comes with the client's socket.
import type { EventLoop } from '../../../host/event-loop.js';
import * as libc from '../../../host/libc.js';
import { Timer } from '../../../host/timer.js';
import type { Arrival } from '../../../machine.js';
import { allocateIovecs, setIovec } from '../../../virtio/buffers.js';
import { type CheckedFrame, HEADROOM } from '../back-end.js';
import { DNS_PORT } from '../dns.js';
import { PROTOCOL_UDP } from '../frame.js';
import { type Flow, FlowTable, portsOf } from './flow-table.js';
import { PAYLOAD, QUOTED } from './link.js';
import type { PublishedFd, RelayContext } from './relay-context.js';
import { takeError } from './tcp-socket.js';
import { reasonOf } from './unreachable.js';

/** Milliseconds. RFC 4787, 4.3: at least two minutes; a question is answered sooner. */
const IDLE = 180_000;
const IDLE_QUESTION = 30_000;
/** If no other place is free. As in the policy (flows.ts). */
const IDLE_WITHOUT_PLACES = 30_000;
const SWEEP = 10_000;
/** The soonest that a guest without places causes another sweep. */
const SWEEP_AGAIN = 1000;
const MAX_DATAGRAM = 65_535;
/** Datagrams that one socket receives in one turn of the event loop. */
const BATCH = 64;
const MAX_IOVECS = 258;
/** Of datagrams that wait for a socket: of one flow, and bytes of all. */
const MAX_WAITING = 16;
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

class UdpFlow implements Flow {
  next: Flow | undefined = undefined;
  used = 0;
  /** -1: it has not come. */
  fd = -1;
  isClosed = false;
  readonly waiting: Uint8Array[] = [];
  /** Of the datagram that was sent last. */
  sent = 0;

  constructor(
    readonly local: number,
    readonly remote: Uint32Array,
    readonly ports: number,
    /** Where the client's flow is, if the flow began at a published port. */
    readonly client?: { door: Door; key: string },
  ) {}
}

/** A published port, and the flows of its clients. */
interface Door {
  fd: number;
  index: number;
  guest: number;
  flows: Map<string, UdpFlow>;
}

export class UdpRelay implements Disposable {
  readonly #loop: EventLoop;
  readonly #context: RelayContext;
  readonly #flows = new FlowTable<UdpFlow>();
  readonly #doors: readonly Door[];
  /** Flows whose sockets are not read until the guest has room. */
  readonly #unread = new Set<UdpFlow>();
  /** Datagrams that found no room: one of a flow, and the rest of what came to published ports. */
  #kept: { flow: UdpFlow; bytes: Uint8Array }[] = [];
  /** Published ports that are asked for no datagrams until these have room. True: some wait at the owner. */
  readonly #held = new Map<Door, boolean>();
  #waitingBytes = 0;
  readonly #timer: Timer;
  #isWatching = false;
  #swept = 0;
  readonly #iovecs = allocateIovecs(MAX_IOVECS);
  readonly #quoted = new Uint8Array(QUOTED);
  readonly #quotedView = new DataView(this.#quoted.buffer);

  /** @param published all, in the order of the spec. The relay owns those of UDP. */
  constructor(context: RelayContext, published: readonly PublishedFd[]) {
    this.#context = context;
    this.#loop = context.loop;
    this.#timer = new Timer(context.loop, () => this.#sweep());
    this.#doors = published.flatMap(({ protocol, fd, guest }, index): Door[] =>
      protocol === 'udp' ? [{ fd, index, guest, flows: new Map() }] : [],
    );
    for (const door of this.#doors) this.#loop.add(door.fd, libc.EPOLLIN, () => this.#ask(door));
  }

  /** Takes a datagram of the guest. */
  send(checked: CheckedFrame): void {
    const { source, destination, sourcePort, destinationPort } = checked.frame;
    const local = this.#context.map.localOf(source);
    if (local < 0) return;
    const ports = portsOf(sourcePort, destinationPort);
    const flow = this.#flows.find(local, destination, ports) ?? this.#begin(local, destination.slice(), ports);
    if (flow === undefined || flow.isClosed) return;
    flow.used = performance.now();
    flow.sent = checked.frame.end - checked.frame.payload;
    if (flow.fd < 0) this.#wait(flow, checked);
    else this.#transmit(flow, checked);
  }

  #begin(local: number, remote: Uint32Array, ports: number): UdpFlow | undefined {
    if (!this.#hasPlace()) return undefined;
    const flow = this.#add(new UdpFlow(local, remote, ports));
    this.#context.sockets.connect('udp', ports >>> 16, remote, ports & 0xffff, (fd) => this.#came(flow, fd));
    return flow;
  }

  /** Takes a place, of a flow that is idle if there is no other. */
  #hasPlace(): boolean {
    const { places } = this.#context;
    if (places.take()) return true;
    const now = performance.now();
    if (now - this.#swept < SWEEP_AGAIN) return false;
    this.#removeIdle(now, IDLE_WITHOUT_PLACES);
    return places.take();
  }

  #add(flow: UdpFlow): UdpFlow {
    flow.used = performance.now();
    this.#flows.add(flow);
    flow.client?.door.flows.set(flow.client.key, flow);
    if (!this.#isWatching) this.#timer.set(SWEEP);
    this.#isWatching = true;
    return flow;
  }

  /** @param fd a socket, or the negated errno */
  #came(flow: UdpFlow, fd: number): void {
    if (flow.isClosed) {
      this.#context.places.give();
      if (fd >= 0) libc.close(fd);
      return;
    }
    if (fd < 0) {
      this.#tell(flow, -fd);
      this.#context.link.receiver?.flush();
      this.#context.places.give();
      this.#remove(flow);
      return;
    }
    this.#open(flow, fd);
    for (const bytes of flow.waiting.splice(0)) {
      this.#waitingBytes -= bytes.length;
      if (libc.write(fd, bytes, bytes.length) < 0) this.#failed(flow, () => libc.write(fd, bytes, bytes.length));
    }
  }

  #open(flow: UdpFlow, fd: number): void {
    flow.fd = fd;
    this.#loop.add(fd, libc.EPOLLIN, (events) => this.#onEvents(flow, events));
  }

  /** Keeps a datagram until the flow has its socket. One too many is lost, as on any network. */
  #wait(flow: UdpFlow, { frame, bytes, copied, rest, offset }: CheckedFrame): void {
    const length = frame.end - frame.payload;
    if (flow.waiting.length >= MAX_WAITING || this.#waitingBytes + length > MAX_WAITING_BYTES) return;
    const kept = new Uint8Array(length);
    const near = Math.max(0, Math.min(copied, frame.end) - frame.payload);
    kept.set(bytes.subarray(HEADROOM + frame.payload, HEADROOM + frame.payload + near));
    if (near < length) rest.read(offset, kept.subarray(near));
    flow.waiting.push(kept);
    this.#waitingBytes += length;
  }

  #transmit(flow: UdpFlow, { frame, memory, copied, rest, offset }: CheckedFrame): void {
    const { payload, end } = frame;
    const near = Math.max(0, Math.min(copied, end) - payload);
    let count = 0;
    if (near > 0) setIovec(this.#iovecs, memory + HEADROOM + payload, near, count++);
    if (end - payload > near) count += rest.iovecs(offset, end - payload - near, this.#iovecs, count);
    // A vector of no bytes sends nothing, not even an empty datagram.
    const write = () =>
      count === 0 ? libc.write(flow.fd, this.#quoted, 0) : libc.writev(flow.fd, this.#iovecs, count);
    if (write() < 0) this.#failed(flow, write);
  }

  /**
   * A write failed, perhaps by the error of an earlier datagram: the kernel tells it once. What the
   * host does not take then is lost, as on any network.
   */
  #failed(flow: UdpFlow, again: () => number): void {
    this.#tell(flow, libc.errno());
    if (again() < 0) this.#tell(flow, libc.errno());
    this.#context.link.receiver?.flush();
  }

  /** Tells the guest why a datagram did not arrive. */
  #tell({ local, remote, ports, sent }: UdpFlow, errno: number): void {
    const why = reasonOf(errno);
    if (why === undefined) return;
    const { link, map } = this.#context;
    const length = QUOTED + sent;
    this.#quotedView.setUint16(0, ports >>> 16);
    this.#quotedView.setUint16(2, ports);
    this.#quotedView.setUint16(4, length);
    this.#quotedView.setUint16(6, 0);
    link.unreachable(why, remote, map.own[local]!, PROTOCOL_UDP, this.#quoted, length);
  }

  #onEvents(flow: UdpFlow, events: number): void {
    if ((events & libc.EPOLLERR) !== 0) this.#tell(flow, takeError(flow.fd));
    this.#receive(flow);
    this.#context.link.receiver?.flush();
  }

  #receive(flow: UdpFlow): void {
    const { link } = this.#context;
    for (let budget = BATCH; budget > 0; budget--) {
      if (link.full || this.#kept.length > 0) {
        this.#unread.add(flow);
        this.#loop.modify(flow.fd, 0);
        return;
      }
      const length = libc.read(flow.fd, link.memory + PAYLOAD, MAX_DATAGRAM);
      if (length < 0) {
        if (libc.errno() === libc.EAGAIN) return;
        this.#tell(flow, libc.errno());
        continue;
      }
      flow.used = performance.now();
      this.#give(flow, length);
    }
  }

  /** Delivers the datagram in the link's memory, or keeps it behind those that found no room before. */
  #give(flow: UdpFlow, length: number): void {
    const { bytes } = this.#context.link;
    if (this.#kept.length > 0 || !this.#deliver(flow, length)) {
      this.#kept.push({ flow, bytes: bytes.slice(PAYLOAD, PAYLOAD + length) });
    }
  }

  #deliver({ local, remote, ports }: UdpFlow, length: number): boolean {
    const { link, map } = this.#context;
    return link.udp(remote, map.own[local]!, ports, length);
  }

  /** Asks for what new clients have sent to a published port. Waits for the answer. */
  #ask(door: Door): void {
    this.#loop.modify(door.fd, 0);
    this.#context.sockets.arrivals(door.index, (arrivals, sockets, hasMore) => {
      let taken = 0;
      for (const arrival of arrivals) this.#arrive(door, arrival, arrival.hasSocket ? sockets[taken++]! : -1);
      this.#context.link.receiver?.flush();
      if (this.#kept.length > 0) this.#held.set(door, hasMore);
      else this.#askAgain(door, hasMore);
    });
  }

  #askAgain(door: Door, hasMore: boolean): void {
    if (hasMore) this.#ask(door);
    else this.#loop.modify(door.fd, libc.EPOLLIN);
  }

  #arrive(door: Door, { client, clientPort, here, payload }: Arrival, fd: number): void {
    const key = `${client.join()} ${clientPort} ${here.join()}`;
    let flow = door.flows.get(key);
    const isSecond = flow !== undefined && fd >= 0;
    if (flow === undefined && fd >= 0) flow = this.#welcome(door, key, client, clientPort, here, fd);
    if (flow === undefined) return;
    flow.used = performance.now();
    const bytes = Buffer.from(payload, 'base64');
    this.#context.link.bytes.set(bytes, PAYLOAD);
    this.#give(flow, bytes.length);
    if (isSecond) this.#merge(flow, fd);
  }

  /** Takes what came by a second socket of a client. What it sends from now on comes by the first one. */
  #merge(flow: UdpFlow, fd: number): void {
    const { link } = this.#context;
    for (let budget = BATCH; budget > 0; budget--) {
      const length = libc.read(fd, link.memory + PAYLOAD, MAX_DATAGRAM);
      if (length < 0) break;
      this.#give(flow, length);
    }
    libc.close(fd);
  }

  /** The first datagram of a client. */
  #welcome(
    door: Door,
    key: string,
    client: readonly number[],
    clientPort: number,
    here: readonly number[],
    fd: number,
  ): UdpFlow | undefined {
    const { map } = this.#context;
    const remote = map.inward(Uint32Array.from(client), Uint32Array.from(here));
    const local = remote === undefined ? -1 : map.localFor(remote);
    if (remote === undefined || local < 0 || !this.#hasPlace()) {
      libc.close(fd);
      return undefined;
    }
    // Two clients of this host that sent to different addresses of it may have the same port.
    let seen = clientPort;
    while (this.#flows.find(local, remote, portsOf(door.guest, seen)) !== undefined) seen = (seen % 65535) + 1;
    const flow = this.#add(new UdpFlow(local, remote, portsOf(door.guest, seen), { door, key }));
    this.#open(flow, fd);
    return flow;
  }

  /** The guest has room again. */
  resume(): void {
    const { link } = this.#context;
    while (this.#kept[0] !== undefined) {
      const { flow, bytes } = this.#kept[0];
      link.bytes.set(bytes, PAYLOAD);
      const isDelivered = this.#deliver(flow, bytes.length);
      if (isDelivered) this.#kept.shift();
      link.receiver?.flush();
      if (!isDelivered) return;
    }
    for (const flow of this.#unread) this.#loop.modify(flow.fd, libc.EPOLLIN);
    this.#unread.clear();
    const held = [...this.#held];
    this.#held.clear();
    for (const [door, hasMore] of held) this.#askAgain(door, hasMore);
  }

  #sweep(): void {
    this.#removeIdle(performance.now(), IDLE);
    this.#isWatching = this.#flows.size > 0;
    if (this.#isWatching) this.#timer.set(SWEEP);
  }

  #removeIdle(now: number, patience: number): void {
    this.#swept = now;
    this.#flows.forEach((flow) => {
      const isQuestion = (flow.ports & 0xffff) === DNS_PORT;
      if (now - flow.used > (isQuestion ? Math.min(patience, IDLE_QUESTION) : patience)) this.#end(flow);
    });
  }

  /** Closes the flow's socket, or the one that still comes. */
  #end(flow: UdpFlow): void {
    this.#remove(flow);
    if (flow.fd < 0) return;
    this.#loop.remove(flow.fd);
    libc.close(flow.fd);
    this.#context.places.give();
  }

  #remove(flow: UdpFlow): void {
    flow.isClosed = true;
    this.#flows.delete(flow);
    flow.client?.door.flows.delete(flow.client.key);
    this.#unread.delete(flow);
    for (const bytes of flow.waiting.splice(0)) this.#waitingBytes -= bytes.length;
    this.#kept = this.#kept.filter((each) => each.flow !== flow);
  }

  /** Forgets all flows: the guest's driver is gone. */
  clear(): void {
    this.#flows.forEach((flow) => {
      this.#end(flow);
    });
  }

  [Symbol.dispose](): void {
    this.clear();
    this.#timer[Symbol.dispose]();
    for (const { fd } of this.#doors) {
      this.#loop.remove(fd);
      libc.close(fd);
    }
  }
}
