// The sockets of the relay and of the vsock device come from the owner of the machine: this process
// connects none.
// The requests for connections of one turn of the event loop go in one message.
import type { OnArrivals, OutsideSockets } from '../devices/net/relay/outside-sockets.js';
import type { EventLoop } from '../host/event-loop.js';
import * as libc from '../host/libc.js';
import {
  type Carried,
  type ConnectAnswer,
  type ConnectRequest,
  MAX_CONNECTS,
  MachineError,
  type MachineEvent,
  type MachineRequest,
  type PortRequest,
} from '../machine.js';

type Asked = Extract<MachineEvent, { type: 'connect' | 'arrivals' }>;
type Arrived = Pick<Extract<MachineRequest, { type: 'arrived' }>, 'published' | 'arrivals' | 'hasMore'>;

export class AskedSockets implements OutsideSockets {
  readonly #loop: EventLoop;
  readonly #send: (asked: Asked) => void;
  readonly #waiting = new Map<number, (fd: number) => void>();
  readonly #arriving = new Map<number, OnArrivals>();
  #asked: (ConnectRequest | PortRequest)[] = [];
  #lastId = 0;

  constructor(loop: EventLoop, send: (asked: Asked) => void) {
    this.#loop = loop;
    this.#send = send;
  }

  connect(carried: Carried, guestPort: number, address: Uint32Array, port: number, done: (fd: number) => void): void {
    const words = [address[0]!, address[1]!, address[2]!, address[3]!] as const;
    this.#ask([this.#nextId(done), carried, guestPort, port, ...words]);
  }

  /**
   * Asks for a socket that is connected with a host port of the vsock device.
   * @param done gets a non-blocking socket, which it owns, or the negated errno
   */
  connectToPort(port: number, done: (fd: number) => void): void {
    this.#ask([this.#nextId(done), 'vsock', port]);
  }

  #nextId(done: (fd: number) => void): number {
    this.#lastId = (this.#lastId + 1) >>> 0;
    this.#waiting.set(this.#lastId, done);
    return this.#lastId;
  }

  #ask(request: ConnectRequest | PortRequest): void {
    if (this.#asked.length === 0) this.#loop.defer(() => this.#flush());
    this.#asked.push(request);
    if (this.#asked.length === MAX_CONNECTS) this.#flush();
  }

  #flush(): void {
    if (this.#asked.length > 0) this.#send({ type: 'connect', asked: this.#asked });
    this.#asked = [];
  }

  arrivals(published: number, done: OnArrivals): void {
    this.#arriving.set(published, done);
    this.#send({ type: 'arrivals', published });
  }

  /**
   * @param take the sockets that came, owned from now on
   * @throws MachineError if they are not as many as the arrivals say
   */
  arrived({ published, arrivals, hasMore }: Arrived, take: (count: number) => number[]): void {
    const count = arrivals.filter(({ hasSocket }) => hasSocket).length;
    const sockets = take(count);
    const done = this.#arriving.get(published);
    if (done === undefined || sockets.length !== count) throw unasked(sockets);
    this.#arriving.delete(published);
    done(arrivals, sockets, hasMore);
  }

  /**
   * @param take the sockets that came, owned from now on
   * @throws MachineError if they are not as many as the answers say
   */
  answered(answers: readonly ConnectAnswer[], take: (count: number) => number[]): void {
    const sockets = take(answers.filter(([, errno]) => errno === 0).length);
    for (const [id, errno] of answers) {
      const fd = errno === 0 ? sockets.shift() : -errno;
      const done = this.#waiting.get(id);
      if (fd === undefined || done === undefined) {
        throw unasked(fd !== undefined && fd >= 0 ? [fd, ...sockets] : sockets);
      }
      this.#waiting.delete(id);
      done(fd);
    }
  }
}

function unasked(sockets: readonly number[]): MachineError {
  for (const fd of sockets) libc.close(fd);
  return new MachineError('host', 'the owner of the machine answers what was not asked');
}
