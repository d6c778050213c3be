// The connections of the server, shared by those who hold them: each tenant, the visitors of each
// tenant's ports, and all that have not shown a key yet. If all are taken, a new one gets the place
// of the oldest connection of whoever holds the most. So none keeps others out, whatever it opens.
import type { Socket } from 'node:net';

/** Whoever has not shown a key yet, all together: addresses cost nothing. */
const STRANGERS = '';

export class Connections {
  readonly #most: number;
  readonly #holders = new Map<Socket, string>();
  /** The connections of each holder, oldest first. */
  readonly #held = new Map<string, Set<Socket>>();

  /** @param most connections at one time */
  constructor(most: number) {
    this.#most = most;
  }

  /** Counts a connection until it is closed. One that is counted already stays what it is. */
  add(socket: Socket): void {
    if (this.#holders.has(socket)) return;
    this.#put(socket, STRANGERS);
    socket.once('close', () => this.#remove(socket));
    if (this.#holders.size > this.#most) this.#endOne();
  }

  /** A request on this connection has shown whose it is. */
  claim(socket: Socket, holder: string): void {
    // One that has ended is counted no more.
    if (!this.#holders.has(socket) || this.#holders.get(socket) === holder) return;
    this.#remove(socket);
    this.#put(socket, holder);
  }

  #put(socket: Socket, holder: string): void {
    this.#holders.set(socket, holder);
    const sockets = this.#held.get(holder) ?? new Set();
    this.#held.set(holder, sockets.add(socket));
  }

  #remove(socket: Socket): void {
    const holder = this.#holders.get(socket) ?? STRANGERS;
    this.#holders.delete(socket);
    const sockets = this.#held.get(holder);
    sockets?.delete(socket);
    if (sockets?.size === 0) this.#held.delete(holder);
  }

  #endOne(): void {
    let most: ReadonlySet<Socket> = new Set();
    for (const sockets of this.#held.values()) if (sockets.size > most.size) most = sockets;
    const [oldest] = most;
    if (oldest === undefined) return;
    this.#remove(oldest);
    oldest.destroy();
  }
}
