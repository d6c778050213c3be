// The guest's pings, by ping sockets of the host (icmp(7)), which need no privilege where
// `net.ipv4.ping_group_range` allows them. Elsewhere the guest is told that they are prohibited.
import { isIPv4Address } from '../../../../addresses/ip.js';
import * as libc from '../../../host/libc.js';
import { Timer } from '../../../host/timer.js';
import { type CheckedFrame, HEADROOM } from '../back-end.js';
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, u16 } from '../frame.js';
import { type Flow, FlowTable, portsOf } from './flow-table.js';
import { PAYLOAD, QUOTED } from './link.js';
import type { RelayContext } from './relay-context.js';
import { takeError } from './tcp-socket.js';
import { reasonOf } from './unreachable.js';

/** Milliseconds. RFC 5508, 3.2: at least a minute. */
const IDLE = 60_000;
const SWEEP = 10_000;
const MAX_FLOWS = 256;
/** The longest message. */
const MAX_MESSAGE = 65_507;
const BATCH = 16;
/** Messages that wait for a socket. */
const MAX_WAITING = 4;
/** An echo message: type, code, checksum, identifier, sequence number, data. */
const HEADER = 8;
const IDENTIFIER = 4;
const ECHO_REPLY = 0;
const ECHO_REPLY_6 = 129;

class EchoFlow implements Flow {
  next: Flow | undefined = undefined;
  used = 0;
  /** -1: it has not come. */
  fd = -1;
  isClosed = false;
  readonly waiting: Uint8Array[] = [];
  /** The message that was sent last: its header, and its length. */
  readonly quoted = new Uint8Array(QUOTED);
  sent = 0;

  constructor(
    readonly local: number,
    readonly remote: Uint32Array,
    /** The guest's identifier, and 0. */
    readonly ports: number,
  ) {}
}

export class EchoRelay implements Disposable {
  readonly #context: RelayContext;
  readonly #flows = new FlowTable<EchoFlow>();
  readonly #timer: Timer;
  #isWatching = false;

  constructor(context: RelayContext) {
    this.#context = context;
    this.#timer = new Timer(context.loop, () => this.#sweep());
  }

  /** Takes an echo request of the guest. */
  send({ frame, bytes, copied, rest, offset }: CheckedFrame): void {
    const { destination, transport, end } = frame;
    const { map } = this.#context;
    const local = map.localOf(frame.source);
    const length = end - transport;
    if (local < 0 || length > MAX_MESSAGE) return;
    const ports = portsOf(u16(bytes, HEADROOM + transport + IDENTIFIER), 0);
    const flow = this.#flows.find(local, destination, ports) ?? this.#begin(local, destination.slice(), ports);
    if (flow === undefined || flow.isClosed) return;
    const message = new Uint8Array(length);
    const near = Math.min(copied, end) - transport;
    message.set(bytes.subarray(HEADROOM + transport, HEADROOM + transport + near));
    if (near < length) rest.read(offset, message.subarray(near));
    flow.used = performance.now();
    flow.quoted.set(message.subarray(0, QUOTED));
    flow.sent = length;
    if (flow.fd >= 0) this.#transmit(flow, message);
    else if (flow.waiting.length < MAX_WAITING) flow.waiting.push(message);
  }

  #begin(local: number, remote: Uint32Array, ports: number): EchoFlow | undefined {
    const { places, sockets } = this.#context;
    if (this.#flows.size >= MAX_FLOWS || !places.take()) return undefined;
    const flow = new EchoFlow(local, remote, ports);
    this.#flows.add(flow);
    if (!this.#isWatching) this.#timer.set(SWEEP);
    this.#isWatching = true;
    sockets.connect('ping', 0, remote, 0, (fd) => this.#came(flow, fd));
    return flow;
  }

  /** @param fd a socket, or the negated errno */
  #came(flow: EchoFlow, fd: number): void {
    if (flow.isClosed) {
      this.#context.places.give();
      if (fd >= 0) libc.close(fd);
      return;
    }
    if (fd < 0) {
      this.#tell(flow, -fd);
      this.#context.places.give();
      this.#remove(flow);
      return;
    }
    flow.fd = fd;
    this.#context.loop.add(fd, libc.EPOLLIN, (events) => this.#onEvents(flow, events));
    for (const message of flow.waiting.splice(0)) this.#transmit(flow, message);
  }

  /** What the host does not take is lost, as on any network. */
  #transmit(flow: EchoFlow, message: Uint8Array): void {
    if (libc.write(flow.fd, message, message.length) < 0) this.#tell(flow, libc.errno());
  }

  #tell({ local, remote, quoted, sent }: EchoFlow, errno: number): void {
    const why = reasonOf(errno);
    if (why === undefined) return;
    const { link, map } = this.#context;
    const protocol = isIPv4Address(remote) ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
    link.unreachable(why, remote, map.own[local]!, protocol, quoted, sent);
    link.receiver?.flush();
  }

  #onEvents(flow: EchoFlow, events: number): void {
    const { link } = this.#context;
    if ((events & libc.EPOLLERR) !== 0) this.#tell(flow, takeError(flow.fd));
    for (let budget = BATCH; budget > 0; budget--) {
      const length = libc.read(flow.fd, link.memory + PAYLOAD, MAX_MESSAGE);
      if (length < HEADER) break;
      flow.used = performance.now();
      this.#answer(flow, length);
    }
    link.receiver?.flush();
  }

  /** Passes on a reply, with the guest's identifier. One that finds no room is lost. */
  #answer({ local, remote, ports }: EchoFlow, length: number): void {
    const { link, map } = this.#context;
    link.view.setUint16(PAYLOAD, (isIPv4Address(remote) ? ECHO_REPLY : ECHO_REPLY_6) << 8);
    link.view.setUint16(PAYLOAD + IDENTIFIER, ports >>> 16);
    link.icmp(remote, map.own[local]!, length);
  }

  #sweep(): void {
    const now = performance.now();
    this.#flows.forEach((flow) => {
      if (now - flow.used > IDLE) this.#end(flow);
    });
    this.#isWatching = this.#flows.size > 0;
    if (this.#isWatching) this.#timer.set(SWEEP);
  }

  /** Closes the flow's socket, or the one that still comes. */
  #end(flow: EchoFlow): void {
    this.#remove(flow);
    if (flow.fd < 0) return;
    this.#context.loop.remove(flow.fd);
    libc.close(flow.fd);
    this.#context.places.give();
  }

  #remove(flow: EchoFlow): void {
    flow.isClosed = true;
    flow.waiting.length = 0;
    this.#flows.delete(flow);
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
  }
}
