// Makes the sockets of a machine process, which connects none. A guest that has taken
// over its machine process asks for what it likes: each destination is checked here, requests are
// bounded in number and rate, and no more sockets are on their way to it than it reads.
import { connectToPort } from '../host/files.js';
import * as libc from '../host/libc.js';
import {
  type Arrival,
  type ConnectAnswer,
  type ConnectRequest,
  type EgressPort,
  MAX_CONNECTS,
  MAX_PER_PLACE,
  MAX_VSOCK_CONNECTIONS,
  type NetworkSpec,
  type PortRequest,
  type RelaySpec,
} from '../machine.js';
import { connectPing, connectTcp, UdpSockets } from './connected-socket.js';
import { DatagramPort } from './datagram-port.js';
import { Destinations } from './destinations.js';
import { EgressDoor } from './egress-door.js';
import { SocketAddress } from './socket-address.js';

/** Sockets in one second, and at once after a quiet second. More wait. */
const RATE = 10_000;
/** Sockets that were sent and may not have been read. */
const MAX_UNREAD = 2 * MAX_CONNECTS;
/** Milliseconds before another attempt to answer, doubled each time, and at most. */
const FIRST_DELAY = 1;
const MAX_DELAY = 100;

/** The way to the machine process. */
export interface AnswerChannel {
  /** True if the process has read all that it was sent. */
  readonly isRead: boolean;
  /**
   * Sends the answers, and the sockets of those that have one. The caller closes these.
   * @returns false if there is no room, or no process
   */
  send(answer: Answer, sockets: readonly number[]): boolean;
}

/** As in `MachineRequest`. */
export type Answer =
  | { type: 'connected'; answers: ConnectAnswer[] }
  | { type: 'arrived'; published: number; arrivals: Arrival[]; hasMore: boolean };

/** The network that a machine has outside. */
export interface OutsideNetwork {
  spec: Pick<NetworkSpec, 'gateways' | 'resolvers' | 'rules' | 'maxConnections'>;
  backEnd: Pick<RelaySpec, 'reachHost' | 'dns' | 'egress'>;
  /**
   * The proxy of `backEnd.egress`. Undefined: there is none, and the guest's connections are
   * refused.
   */
  egress?: EgressPort | undefined;
}

export class Connector implements Disposable {
  readonly #vsockPath: string;
  /** Undefined: the machine has no network outside. */
  readonly #destinations: Destinations | undefined;
  readonly #egress: EgressDoor | undefined;
  readonly #channel: AnswerChannel;
  readonly #most: number;
  readonly #address = new SocketAddress();
  readonly #udp = new UdpSockets(new SocketAddress());
  readonly #published = new Map<number, DatagramPort>();
  #asked: ConnectRequest[] = [];
  /** Few, and before the others: commands and streams of the container's owner. */
  #ports: PortRequest[] = [];
  /** Published sockets that the machine has not been told about since it asked. */
  readonly #arriving = new Set<number>();
  #tokens = RATE;
  /** When the tokens were counted, in milliseconds. */
  #counted = performance.now();
  #unread = 0;
  #delay = FIRST_DELAY;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param vsockPath of the vsock device
   * @throws RangeError for an invalid address or range; libc.SystemError
   */
  constructor(vsockPath: string, network: OutsideNetwork | undefined, channel: AnswerChannel) {
    this.#vsockPath = vsockPath;
    this.#destinations = network && new Destinations(network.spec, network.backEnd);
    const egress = network?.backEnd.egress;
    this.#egress = egress && new EgressDoor(egress, network?.egress);
    this.#channel = channel;
    this.#most = (network?.spec.maxConnections ?? 0) * MAX_PER_PLACE;
  }

  /** @param fd of UDP and bound, owned from now on. Its index is among all published sockets. */
  publish(index: number, fd: number): void {
    this.#published.set(index, new DatagramPort(fd));
  }

  /** @throws RangeError for more requests without an answer than a machine has */
  ask(requests: readonly (ConnectRequest | PortRequest)[]): void {
    for (const request of requests) {
      if (isOfPort(request)) this.#ports.push(request);
      else this.#asked.push(request);
    }
    if (this.#asked.length > this.#most || this.#ports.length > MAX_VSOCK_CONNECTIONS) {
      throw new RangeError('too many connections are asked for');
    }
    if (this.#timer === undefined) this.#answer();
  }

  /** The machine asks for what came to a published port. @throws RangeError for another's */
  arrivals(index: number): void {
    if (!this.#published.has(index) || this.#arriving.has(index)) throw new RangeError('no such arrivals');
    this.#arriving.add(index);
    if (this.#timer === undefined) this.#answer();
  }

  /** Answers as many as may be, and comes back for the others. */
  #answer(): void {
    this.#timer = undefined;
    const { isRead } = this.#channel;
    if (isRead) this.#unread = 0;
    this.#refill();
    const count = Math.min(this.#ports.length + this.#asked.length, MAX_CONNECTS, Math.floor(this.#tokens));
    const ports = this.#ports.slice(0, count);
    const others = this.#asked.slice(0, count - ports.length);
    if (count > 0 && this.#unread + count <= MAX_UNREAD && this.#connect([...ports, ...others])) {
      this.#ports = this.#ports.slice(ports.length);
      this.#asked = this.#asked.slice(others.length);
      this.#sent(count);
    }
    // Datagrams are long: one that does not read gets none.
    if (isRead) this.#arrive();
    this.#waits();
  }

  #refill(): void {
    const now = performance.now();
    this.#tokens = Math.min(RATE, this.#tokens + ((now - this.#counted) * RATE) / 1000);
    this.#counted = now;
  }

  #sent(sockets: number): void {
    this.#tokens -= sockets;
    this.#unread += sockets;
    this.#delay = FIRST_DELAY;
  }

  #waits(): void {
    if (this.#asked.length + this.#ports.length + this.#arriving.size === 0) return;
    this.#timer = setTimeout(() => this.#answer(), this.#delay).unref();
    this.#delay = Math.min(this.#delay * 2, MAX_DELAY);
  }

  /** Returns false if the machine process does not get the answers. */
  #connect(requests: readonly (ConnectRequest | PortRequest)[]): boolean {
    const sockets: number[] = [];
    const answers = requests.map((request): ConnectAnswer => {
      const fd = isOfPort(request) ? connectToPort(this.#vsockPath, request[2]) : this.#connectOne(request);
      if (fd < 0) return [request[0], -fd];
      sockets.push(fd);
      return [request[0], 0];
    });
    return this.#send({ type: 'connected', answers }, sockets);
  }

  #send(answer: Answer, sockets: readonly number[]): boolean {
    const isSent = this.#channel.send(answer, sockets);
    for (const fd of sockets) libc.close(fd);
    return isSent;
  }

  /** @returns a socket, or the negated errno */
  #connectOne([, carried, guestPort, port, ...words]: ConnectRequest): number {
    const isPing = carried === 'ping';
    const proxied = carried === 'tcp' ? this.#egress?.connect(Uint32Array.from(words), port) : undefined;
    if (proxied !== undefined) return proxied;
    const to = { destination: Uint32Array.from(words), destinationPort: isPing ? 0 : port, isPing };
    const target = this.#destinations?.find(to, performance.now() / 1000);
    if (target === undefined) return -libc.EACCES;
    const address = this.#address.set(target, to.destinationPort);
    if (carried === 'tcp') return connectTcp(address);
    return isPing ? connectPing(address) : this.#udp.connect(address, guestPort);
  }

  /** Sends what came to one published port. What does not reach the machine is lost, as on any network. */
  #arrive(): void {
    const [index] = this.#arriving;
    const port = index === undefined ? undefined : this.#published.get(index);
    if (index === undefined || port === undefined || this.#tokens < MAX_CONNECTS) return;
    const { arrivals, sockets, hasMore } = port.receive();
    if (!this.#send({ type: 'arrived', published: index, arrivals, hasMore }, sockets)) return;
    this.#arriving.delete(index);
    this.#sent(sockets.length);
    // A machine process that a guest has taken over asks again and again for what has not come.
    if (sockets.length === 0) this.#tokens--;
  }

  [Symbol.dispose](): void {
    this.#asked = [];
    this.#ports = [];
    this.#arriving.clear();
    clearTimeout(this.#timer);
    for (const port of this.#published.values()) port[Symbol.dispose]();
    this.#published.clear();
    this.#destinations?.[Symbol.dispose]();
  }
}

function isOfPort(request: ConnectRequest | PortRequest): request is PortRequest {
  return request[1] === 'vsock';
}
