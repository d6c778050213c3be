// Where a machine process may have sockets to. Its own policy is the guest's wall. This is the owner's:
// it holds also for a guest that has taken over its machine process. It knows no names: a rule that
// allows a name lets every public address through, and one that denies a name none less.
import { isSameAddress, parseAddress } from '../../addresses/ip.js';
import type { NetworkSpec, RelaySpec } from '../machine.js';
import { HostAddresses } from './host-addresses.js';
import { DNS_PORT, OutwardAddresses } from './outward-address.js';
import { openRouteSocket } from './route-socket.js';
import { type Destination, type KnownNames, Rules } from './rules.js';

const ANY_NAME: KnownNames = { has: () => true };

export class Destinations implements Disposable {
  readonly #host = new HostAddresses(openRouteSocket());
  readonly #outward: OutwardAddresses;
  readonly #resolvers: readonly Uint32Array[];
  readonly #rules: Rules;

  /** @throws RangeError for an invalid address or range; libc.SystemError */
  constructor(
    spec: Pick<NetworkSpec, 'gateways' | 'resolvers' | 'rules'>,
    backEnd: Pick<RelaySpec, 'reachHost' | 'dns'>,
  ) {
    this.#outward = new OutwardAddresses(spec, backEnd);
    this.#resolvers = spec.resolvers.map(parseAddress);
    const known = spec.rules.filter(({ allow, name }) => allow || name === undefined);
    this.#rules = new Rules(known, this.#host);
  }

  /**
   * Returns the host's address behind a destination of the guest; undefined if the machine may have
   * no socket to it.
   * @param now in seconds
   */
  find(to: Destination, now: number): Uint32Array | undefined {
    const { destination, destinationPort, isPing } = to;
    const isResolver =
      !isPing && destinationPort === DNS_PORT && this.#resolvers.some((each) => isSameAddress(each, destination));
    // A resolver needs no rule.
    const isRefused = isResolver
      ? this.#rules.byAddress(to) === 'denied'
      : this.#rules.judge(to, ANY_NAME, now) !== undefined;
    return isRefused ? undefined : this.#outward.find(destination, destinationPort);
  }

  [Symbol.dispose](): void {
    this.#host[Symbol.dispose]();
  }
}
