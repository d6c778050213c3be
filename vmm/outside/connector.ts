// Connects by TCP for a machine process, which has no network of the host. A guest that has taken
// over its machine process asks for what it likes: each destination is checked here, requests are
// bounded in number and rate, and no more sockets are on their way to it than it reads.
import * as libc from '../host/libc.js';
import {
  type ConnectAnswer,
  type ConnectRequest,
  MAX_CONNECTS,
  MAX_PER_PLACE,
  type NetworkSpec,
  type PasstSpec,
} from '../machine.js';
import { connectSocket } from './connect-socket.js';
import { SocketAddress } from './socket-address.js';
import { TcpDestinations } from './tcp-destinations.js';

/** Connections in one second, and at once after a quiet second. More wait. */
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
  send(answers: ConnectAnswer[], sockets: readonly number[]): boolean;
}

export class Connector implements Disposable {
  readonly #destinations: TcpDestinations;
  readonly #channel: AnswerChannel;
  readonly #most: number;
  readonly #address = new SocketAddress();
  #asked: ConnectRequest[] = [];
  #tokens = RATE;
  /** When the tokens were counted, in milliseconds. */
  #counted = performance.now();
  #unread = 0;
  #delay = FIRST_DELAY;
  #timer: NodeJS.Timeout | undefined;

  /** @throws RangeError for an invalid address or range; libc.SystemError */
  constructor(
    spec: Pick<NetworkSpec, 'gateways' | 'resolvers' | 'rules' | 'maxConnections'>,
    backEnd: Pick<PasstSpec, 'reachHost'>,
    channel: AnswerChannel,
  ) {
    this.#destinations = new TcpDestinations(spec, backEnd);
    this.#channel = channel;
    this.#most = spec.maxConnections * MAX_PER_PLACE;
  }

  /** @throws RangeError for more requests without an answer than a relay has */
  ask(requests: readonly ConnectRequest[]): void {
    if (this.#asked.length + requests.length > this.#most) throw new RangeError('too many connections are asked for');
    this.#asked.push(...requests);
    if (this.#timer === undefined) this.#answer();
  }

  /** Answers as many as may be, and comes back for the others. */
  #answer(): void {
    this.#timer = undefined;
    if (this.#channel.isRead) this.#unread = 0;
    this.#refill();
    const count = Math.min(this.#asked.length, MAX_CONNECTS, Math.floor(this.#tokens));
    if (count === 0 || this.#unread + count > MAX_UNREAD) {
      this.#waits();
      return;
    }
    this.#tokens -= count;
    if (this.#connect(this.#asked.slice(0, count))) {
      this.#asked = this.#asked.slice(count);
      this.#unread += count;
      this.#delay = FIRST_DELAY;
    }
    this.#waits();
  }

  #refill(): void {
    const now = performance.now();
    this.#tokens = Math.min(RATE, this.#tokens + ((now - this.#counted) * RATE) / 1000);
    this.#counted = now;
  }

  #waits(): void {
    if (this.#asked.length === 0) return;
    this.#timer = setTimeout(() => this.#answer(), this.#delay).unref();
    this.#delay = Math.min(this.#delay * 2, MAX_DELAY);
  }

  /** Returns false if the machine process does not get the answers. */
  #connect(requests: readonly ConnectRequest[]): boolean {
    const sockets: number[] = [];
    const answers = requests.map(([id, port, ...words]): ConnectAnswer => {
      const fd = this.#connectOne(Uint32Array.from(words), port);
      if (fd < 0) return [id, -fd];
      sockets.push(fd);
      return [id, 0];
    });
    const isSent = this.#channel.send(answers, sockets);
    for (const fd of sockets) libc.close(fd);
    return isSent;
  }

  /** @returns a socket, or the negated errno */
  #connectOne(destination: Uint32Array, port: number): number {
    const target = this.#destinations.find(destination, port, performance.now() / 1000);
    return target === undefined ? -libc.EACCES : connectSocket(this.#address.set(target, port));
  }

  [Symbol.dispose](): void {
    this.#asked = [];
    clearTimeout(this.#timer);
    this.#destinations[Symbol.dispose]();
  }
}
