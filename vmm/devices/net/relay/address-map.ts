// Which host address stands behind an address that the guest sees. The gateway is the host's
// loopback interface. All others are themselves.
import {
  type Address,
  isInAnyRange,
  isIPv4Address,
  isSameAddress,
  parseAddress,
  parseRange,
} from '../../../../addresses/ip.js';
import type { NetworkSpec, PasstSpec } from '../../../machine.js';

const LOOPBACK = parseAddress('127.0.0.1');
const LOOPBACK_6 = parseAddress('::1');
const LOOPBACKS = ['127.0.0.0/8', '::1'].map(parseRange);
/** A socket cannot connect to these, or means another address: the unspecified one is the host. */
const UNUSABLE = ['0.0.0.0/8', '224.0.0.0/4', '255.255.255.255', '::', 'ff00::/8', 'fe80::/10'].map(parseRange);
const LINK_LOCAL = [parseRange('fe80::/10')];

export class AddressMap {
  /** The guest's addresses. A flow names one by its index. */
  readonly own: readonly Address[];
  readonly #gateways: readonly Address[];
  readonly #reachHost: boolean;

  /** @throws RangeError for an invalid address */
  constructor({ addresses, gateways }: Pick<NetworkSpec, 'addresses' | 'gateways'>, { reachHost }: PasstSpec) {
    this.own = addresses.map(parseAddress);
    this.#gateways = gateways.map(parseAddress);
    this.#reachHost = reachHost;
  }

  /** The index of the guest's address; -1 for another's. */
  localOf(words: Uint32Array): number {
    return this.own.findIndex((own) => isSameAddress(own, words));
  }

  /** Returns the host's address for a destination of the guest; undefined if there is none. */
  outward(words: Uint32Array): Uint32Array | undefined {
    if (this.#gateways.some((gateway) => isSameAddress(gateway, words))) {
      if (!this.#reachHost) return undefined;
      return isIPv4Address(words) ? LOOPBACK : LOOPBACK_6;
    }
    // The loopback interface is behind the gateway's address only.
    return isInAnyRange(LOOPBACKS, words) || isInAnyRange(UNUSABLE, words) ? undefined : words;
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
