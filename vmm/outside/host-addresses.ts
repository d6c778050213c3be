// What is the host's own: the addresses that its kernel answers to, and the links and networks that
// it has routes to, held for a moment. They change while a guest runs (an address of another
// network, the temporary addresses of RFC 8981, a VPN), and a new one is as closed as the others.
import type { AddressRange } from '../../addresses/ip.js';
import { closedByRoutes } from './closed-routes.js';
import { HostRoutes } from './host-routes.js';

/**
 * Seconds for which the routes read are used. On a host with many routes: the seconds that reading
 * took, times 50.
 */
const PATIENCE = 1;
const PATIENCE_FACTOR = 50;

export class HostAddresses implements Disposable {
  readonly #routes: HostRoutes;
  #ranges: readonly AddressRange[];
  #heldUntil = Number.NEGATIVE_INFINITY;

  /** @param routeSocket from openRouteSocket, owned from now on */
  constructor(routeSocket: number) {
    this.#routes = new HostRoutes(routeSocket);
    this.#ranges = closedByRoutes(this.#routes.read());
  }

  /** The closed ranges. @param now in seconds */
  ranges(now: number): readonly AddressRange[] {
    if (now < this.#heldUntil) return this.#ranges;
    const began = performance.now();
    try {
      this.#ranges = closedByRoutes(this.#routes.read());
    } catch {
      // What was closed stays closed.
    }
    const seconds = (performance.now() - began) / 1000;
    this.#heldUntil = now + Math.max(PATIENCE, PATIENCE_FACTOR * seconds);
    return this.#ranges;
  }

  [Symbol.dispose](): void {
    this.#routes[Symbol.dispose]();
  }
}
