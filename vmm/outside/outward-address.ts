// Which host address stands behind an address that a guest connects to. The gateway is the host's
// loopback interface. All others are themselves.
import {
  type Address,
  isInAnyRange,
  isIPv4Address,
  isSameAddress,
  parseAddress,
  parseRange,
} from '../../addresses/ip.js';
import type { NetworkSpec, PasstSpec } from '../machine.js';

const LOOPBACK = parseAddress('127.0.0.1');
const LOOPBACK_6 = parseAddress('::1');
export const LOOPBACKS = ['127.0.0.0/8', '::1'].map(parseRange);
/** A socket cannot connect to these, or means another address: the unspecified one is the host. */
const UNUSABLE = ['0.0.0.0/8', '224.0.0.0/4', '255.255.255.255', '::', 'ff00::/8', 'fe80::/10'].map(parseRange);

export class OutwardAddresses {
  readonly #gateways: readonly Address[];
  readonly #reachHost: boolean;

  /** @throws RangeError for an invalid address */
  constructor({ gateways }: Pick<NetworkSpec, 'gateways'>, { reachHost }: Pick<PasstSpec, 'reachHost'>) {
    this.#gateways = gateways.map(parseAddress);
    this.#reachHost = reachHost;
  }

  /** Returns the host's address for a destination of the guest; undefined if there is none. */
  find(words: Uint32Array): Uint32Array | undefined {
    if (this.#gateways.some((gateway) => isSameAddress(gateway, words))) {
      if (!this.#reachHost) return undefined;
      return isIPv4Address(words) ? LOOPBACK : LOOPBACK_6;
    }
    // The loopback interface is behind the gateway's address only.
    return isInAnyRange(LOOPBACKS, words) || isInAnyRange(UNUSABLE, words) ? undefined : words;
  }
}
