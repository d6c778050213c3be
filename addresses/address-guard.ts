// Names and addresses of strangers that the host connects to for them: they lead to the public
// Internet alone, unless the administrator opens a range.
import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { closedRanges } from './closed-ranges.js';
import { type AddressRange, isInRange, isWithin, parseAddress, parseRange } from './ip.js';

/** Milliseconds of a name's resolution. */
const DNS_TIMEOUT = 10_000;

export interface GuardOptions {
  /** Ranges outside the public Internet that may be reached: `10.1.0.0/16`. */
  allow?: readonly string[];
  /** Servers of names, with ports. Default: the host's */
  dns?: readonly string[];
}

/** Which addresses the host may connect to for a stranger. */
export class AddressGuard {
  readonly #allowed: readonly AddressRange[];
  readonly #resolver = new Resolver({ timeout: DNS_TIMEOUT, tries: 1 });

  /** @throws RangeError for what is no range */
  constructor({ allow = [], dns }: GuardOptions = {}) {
    this.#allowed = allow.map(parseRange);
    if (dns !== undefined) this.#resolver.setServers(dns);
  }

  /**
   * Resolves to an address of a host. No other thread waits for names: those of hostile servers
   * take long.
   * @throws an error if the host has no address, or one that may not be reached
   */
  async resolve(host: string): Promise<string> {
    const addresses = isIP(host) === 0 ? await this.#lookUp(host) : [host];
    for (const address of addresses) {
      if (!this.isAllowed(address)) throw new Error(`${host} is outside the public Internet`);
    }
    const [address] = addresses;
    if (address === undefined) throw new Error(`${host} has no address`);
    return address;
  }

  async #lookUp(host: string): Promise<string[]> {
    const found = await Promise.allSettled([this.#resolver.resolve4(host), this.#resolver.resolve6(host)]);
    return found.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
  }

  /** False outside the public Internet and in the host's own networks, unless a range allows it. */
  isAllowed(address: string): boolean {
    const words = parseAddress(address);
    return closedRanges(words, ownNetworks()).every((closed) =>
      this.#allowed.some((allowed) => isInRange(allowed, words) && isWithin(allowed, closed)),
    );
  }
}

/** The networks that the host's interfaces are in. */
function ownNetworks(): AddressRange[] {
  return Object.values(networkInterfaces())
    .flat()
    .flatMap((each) => (typeof each?.cidr === 'string' ? [parseRange(each.cidr)] : []));
}
