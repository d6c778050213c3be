// Connections that have not said what they are for. A peer may open as many as it likes.
import type { Socket } from 'node:net';

/** Milliseconds for a connection to say what it is for. */
const TIMEOUT = 30_000;

/** Holds at most `max` silent connections: a further one replaces the oldest. */
export class SilentConnections {
  readonly #max: number;
  /** In the order of their arrival. */
  readonly #timers = new Map<Socket, NodeJS.Timeout>();

  constructor(max: number) {
    this.#max = max;
  }

  add(socket: Socket): void {
    const [oldest] = this.#timers.keys();
    if (this.#timers.size >= this.#max) oldest?.destroy();
    if (oldest?.destroyed) this.delete(oldest);
    this.#timers.set(
      socket,
      setTimeout(() => socket.destroy(), TIMEOUT),
    );
    socket.once('close', () => this.delete(socket));
  }

  /** The connection has said what it is for, or is closed. */
  delete(socket: Socket): void {
    clearTimeout(this.#timers.get(socket));
    this.#timers.delete(socket);
  }
}
