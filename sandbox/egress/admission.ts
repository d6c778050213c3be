// Which connections with the proxy's port of the loopback interface are a machine's. Other users of
// the host reach the port too. The machine's owner tells which port each of its sockets has: while
// that socket is open, no other connection has the same two ports.
import type { Socket } from 'node:net';

/** A connection that a machine has. */
export interface Announced {
  /** The port of its socket. */
  from: number;
  /** The port that the guest connects to. */
  to: number;
}

/**
 * Milliseconds until a connection that was not announced is closed: the owner may be slow to
 * announce it.
 */
const PATIENCE = 10_000;
/** Milliseconds until an announcement is void: its port may soon be another user's. */
const ANNOUNCED = 5000;
/**
 * Connections that wait to be announced. One more closes the oldest: others of the host make many.
 */
const MAX_ARRIVED = 64;
/** The address of the owner's sockets. The same port of another one is another program's. */
const OWNER = '127.0.0.1';

interface Waiting<T> {
  value: T;
  timer: NodeJS.Timeout;
}

export class Admission implements Disposable {
  readonly #onAdmitted: (socket: Socket, to: number) => void;
  readonly #announced = new Map<number, Waiting<number>>();
  readonly #arrived = new Map<number, Waiting<Socket>>();

  constructor(onAdmitted: (socket: Socket, to: number) => void) {
    this.#onAdmitted = onAdmitted;
  }

  announce({ from, to }: Announced): void {
    const socket = take(this.#arrived, from);
    if (socket === undefined) this.#wait(this.#announced, from, to, ANNOUNCED);
    else this.#onAdmitted(socket, to);
  }

  arrive(socket: Socket): void {
    const { remoteAddress, remotePort: from } = socket;
    socket.on('error', () => {});
    if (from === undefined || remoteAddress !== OWNER) {
      socket.destroy();
      return;
    }
    const to = take(this.#announced, from);
    if (to !== undefined) {
      this.#onAdmitted(socket, to);
      return;
    }
    const [oldest] = this.#arrived.keys();
    if (oldest !== undefined && this.#arrived.size >= MAX_ARRIVED) take(this.#arrived, oldest)?.destroy();
    this.#wait(this.#arrived, from, socket, PATIENCE, () => socket.destroy());
  }

  #wait<T>(where: Map<number, Waiting<T>>, from: number, value: T, patience: number, onEnd?: () => void): void {
    clearTimeout(where.get(from)?.timer);
    const end = () => {
      if (where.get(from) !== waiting) return;
      where.delete(from);
      onEnd?.();
    };
    // What has come while this process was held up is read before the immediate.
    const waiting = { value, timer: setTimeout(() => setImmediate(end), patience) };
    where.set(from, waiting);
  }

  [Symbol.dispose](): void {
    for (const { value, timer } of this.#arrived.values()) {
      clearTimeout(timer);
      value.destroy();
    }
    for (const { timer } of this.#announced.values()) clearTimeout(timer);
    this.#announced.clear();
    this.#arrived.clear();
  }
}

function take<T>(where: Map<number, Waiting<T>>, from: number): T | undefined {
  const found = where.get(from);
  where.delete(from);
  clearTimeout(found?.timer);
  return found?.value;
}
