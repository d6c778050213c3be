// Which host address stands behind an address that a guest connects to. The gateway is the host's
// loopback interface, and one address is the host's own resolver. All others are themselves.
import {
  type Address,
  isInAnyRange,
  isIPv4Address,
  isSameAddress,
  parseAddress,
  parseRange,
} from '../../addresses/ip.js';
import type { NetworkSpec, RelaySpec } from '../machine.js';

export const DNS_PORT = 53;
const LOOPBACK = parseAddress('127.0.0.1');
const LOOPBACK_6 = parseAddress('::1');
export const LOOPBACKS = ['127.0.0.0/8', '::1'].map(parseRange);
/** A socket cannot connect to these, or means another address: the unspecified one is the host. */
const UNUSABLE = ['0.0.0.0/8', '224.0.0.0/4', '255.255.255.255', '::', 'ff00::/8', 'fe80::/10'].map(parseRange);

export class OutwardAddresses {
  readonly #gateways: readonly Address[];
  readonly #reachHost: boolean;
  readonly #dns: { address: Address; resolver: Address } | undefined;

  /** @throws RangeError for an invalid address */
  constructor({ gateways }: Pick<NetworkSpec, 'gateways'>, { reachHost, dns }: Pick<RelaySpec, 'reachHost' | 'dns'>) {
    this.#gateways = gateways.map(parseAddress);
    this.#reachHost = reachHost;
    if (dns !== undefined) {
      this.#dns = { address: parseAddress(dns.address), resolver: parseAddress(dns.resolver) };
    }
  }

  /**
   * Returns the host's address for a destination of the guest; undefined if there is none.
   * @param port 0 for ping
   */
  find(words: Uint32Array, port: number): Uint32Array | undefined {
    if (this.#gateways.some((gateway) => isSameAddress(gateway, words))) {
      if (!this.#reachHost) return undefined;
      return isIPv4Address(words) ? LOOPBACK : LOOPBACK_6;
    }
    if (port === DNS_PORT && this.#dns !== undefined && isSameAddress(this.#dns.address, words)) {
      return this.#dns.resolver;
    }
    // The loopback interface is behind the gateway's address only.
    return isInAnyRange(LOOPBACKS, words) || isInAnyRange(UNUSABLE, words) ? undefined : words;
  }
}
