// The addresses that the host's kernel answers to, held for a moment. They change while a guest
// runs (an address of another network, the temporary addresses of RFC 8981), and a new one is as
// closed as the others.
import { readLocalAddresses, readLocalAddresses6 } from '../../local-addresses.js';
import { type AddressRange, parseRange } from './address.js';

/**
 * Seconds for which the addresses read are used. On a host with many routes: the seconds that
 * reading took, times 50.
 */
const PATIENCE = 1;
const PATIENCE_FACTOR = 50;

export class HostAddresses {
  #ranges: readonly AddressRange[] = [];
  #heldUntil = Number.NEGATIVE_INFINITY;

  /** @param now in seconds */
  ranges(now: number): readonly AddressRange[] {
    if (now < this.#heldUntil) return this.#ranges;
    const began = performance.now();
    this.#ranges = [...readLocalAddresses(), ...readLocalAddresses6()].map(parseRange);
    const seconds = (performance.now() - began) / 1000;
    this.#heldUntil = now + Math.max(PATIENCE, PATIENCE_FACTOR * seconds);
    return this.#ranges;
  }
}
