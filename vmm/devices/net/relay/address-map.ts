// The addresses of a guest, and which address it sees of a client of the host.
import {
  type Address,
  isInAnyRange,
  isIPv4Address,
  isSameAddress,
  parseAddress,
  parseRange,
} from '../../../../addresses/ip.js';
import type { NetworkSpec } from '../../../machine.js';
import { LOOPBACKS } from '../../../outside/outward-address.js';

const LINK_LOCAL = [parseRange('fe80::/10')];

export class AddressMap {
  /** The guest's addresses. A flow names one by its index. */
  readonly own: readonly Address[];
  readonly #gateways: readonly Address[];

  /** @throws RangeError for an invalid address */
  constructor({ addresses, gateways }: Pick<NetworkSpec, 'addresses' | 'gateways'>) {
    this.own = addresses.map(parseAddress);
    this.#gateways = gateways.map(parseAddress);
  }

  /** The index of the guest's address; -1 for another's. */
  localOf(words: Uint32Array): number {
    return this.own.findIndex((own) => isSameAddress(own, words));
  }

  /**
   * Returns the address that the guest sees of a client of a published port: the client's own, or
   * the gateway's for a client on this host, or one that is known on a link of the host only.
   * @param at the host's address that the client connected to
   */
  inward(client: Uint32Array, at: Uint32Array): Uint32Array | undefined {
    const isHere =
      isInAnyRange(LOOPBACKS, client) ||
      isInAnyRange(LINK_LOCAL, client) ||
      isSameAddress(at, client) ||
      this.localOf(client) >= 0;
    if (!isHere) return client.slice();
    return this.#gateways.find((each) => isIPv4Address(each) === isIPv4Address(client));
  }

  /**
   * The index of the guest's address that speaks with a remote one: of the same family, and
   * link-local if the other is; -1 if there is none.
   */
  localFor(remote: Uint32Array): number {
    const isIPv4 = isIPv4Address(remote);
    const isLocal = isInAnyRange(LINK_LOCAL, remote);
    return this.own.findIndex(
      (own) => isIPv4Address(own) === isIPv4 && (isIPv4 || isInAnyRange(LINK_LOCAL, own) === isLocal),
    );
  }
}
