// Where the relay gets its sockets from. The owner of the machine makes them.
import type { Arrival, Carried } from '../../../machine.js';

export interface OutsideSockets {
  /**
   * Asks for a socket that is connected, or connects.
   * @param guestPort of TCP and UDP, else 0; `port` likewise
   * @param done gets a non-blocking socket, which it owns, or the negated errno
   */
  connect(carried: Carried, guestPort: number, address: Uint32Array, port: number, done: (fd: number) => void): void;
  /**
   * Asks for the datagrams of new clients in the published socket of this index.
   * @param done gets them. It owns the sockets of those that have one, which come in their order.
   */
  arrivals(published: number, done: OnArrivals): void;
}

/** @param hasMore true if others came that are not in the socket any more: they have to be asked for */
export type OnArrivals = (arrivals: readonly Arrival[], sockets: readonly number[], hasMore: boolean) => void;
