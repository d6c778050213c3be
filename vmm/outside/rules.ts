// The rules of a guest's network, and what they say about a destination and about a name.

import { closedRanges } from '../../addresses/closed-ranges.js';
import { type AddressRange, isInRange, isWithin, parseRange } from '../../addresses/ip.js';
import type { NetworkRule } from '../machine.js';
import type { HostAddresses } from './host-addresses.js';

/** Where a packet or a connection goes. */
export interface Destination {
  destination: Uint32Array;
  destinationPort: number;
  /** A ping has no port. */
  isPing: boolean;
}

/** Which addresses a resolver gave for the names of rules. */
export interface KnownNames {
  has(address: Uint32Array, rule: string, now: number): boolean;
}

interface Rule {
  allow: boolean;
  range: AddressRange | undefined;
  name: string | undefined;
  ports: readonly [number, number] | undefined;
}

function compileRule({ allow, range, name, ports }: NetworkRule): Rule {
  return { allow, range: range === undefined ? undefined : parseRange(range), name: name?.toLowerCase(), ports };
}

export class Rules {
  readonly #rules: readonly Rule[];
  readonly #host: Pick<HostAddresses, 'ranges'>;
  /** The names of the rules. */
  readonly names: readonly string[];
  /** Some rule allows something, so nothing else is allowed. */
  readonly #isList: boolean;

  /** @throws RangeError for an invalid range */
  constructor(rules: readonly NetworkRule[], host: Pick<HostAddresses, 'ranges'>) {
    this.#rules = rules.map(compileRule);
    this.#host = host;
    this.names = this.#rules.flatMap(({ name }) => name ?? []);
    this.#isList = this.#rules.some(({ allow }) => allow);
  }

  /** True if rules restrict what may be asked of a resolver that no rule names by its address. */
  get restrictNames(): boolean {
    return this.#isList || this.names.length > 0;
  }

  /** Returns the reason to refuse a destination; undefined if it is allowed. @param now in seconds */
  judge(to: Destination, names: KnownNames, now: number): 'denied' | 'closed' | 'not-allowed' | undefined {
    let allowed = !this.#isList;
    for (const rule of this.#rules) {
      if (!matches(rule, to, names, now)) continue;
      if (!rule.allow) return 'denied';
      allowed = true;
    }
    if (!this.isOpen(to, now)) return 'closed';
    return allowed ? undefined : 'not-allowed';
  }

  /** Returns true unless the destination is in a closed range that no rule opens. */
  isOpen(to: Destination, now: number): boolean {
    const closed = closedRanges(to.destination, this.#host.ranges(now));
    return closed.every((range) => this.#opens(range, to));
  }

  /** Returns true if a rule whose range is within the closed range allows the destination. */
  #opens(closed: AddressRange, to: Destination): boolean {
    return this.#rules.some(
      ({ allow, range, ports }) =>
        allow &&
        range !== undefined &&
        isWithin(range, closed) &&
        isInRange(range, to.destination) &&
        hasPort(ports, to),
    );
  }

  /**
   * What the rules with addresses say about the destination: one denies it, one allows it; undefined if
   * none is about it.
   */
  byAddress(to: Destination): 'denied' | 'allowed' | undefined {
    const about = this.#rules.filter(
      ({ range, ports }) => range !== undefined && isInRange(range, to.destination) && hasPort(ports, to),
    );
    if (about.length === 0) return undefined;
    return about.some(({ allow }) => !allow) ? 'denied' : 'allowed';
  }

  /** Returns true if the guest may ask for the name. */
  mayAsk(name: string): boolean {
    const rules = this.#rules.filter((rule) => rule.name !== undefined && matchesName(rule.name, name));
    // A rule with ports denies only those ports, not the name.
    if (rules.some(({ allow, ports }) => !allow && ports === undefined)) return false;
    return !this.#isList || rules.some(({ allow }) => allow);
  }
}

function matches({ range, name, ports }: Rule, to: Destination, names: KnownNames, now: number): boolean {
  if (!hasPort(ports, to)) return false;
  if (range !== undefined) return isInRange(range, to.destination);
  return name !== undefined && names.has(to.destination, name, now);
}

function hasPort(ports: Rule['ports'], to: Destination): boolean {
  if (ports === undefined) return true;
  return !to.isPing && to.destinationPort >= ports[0] && to.destinationPort <= ports[1];
}

/** Returns true if the rule, `example.com` or `*.example.com`, matches the name. */
export function matchesName(rule: string, name: string): boolean {
  return rule.startsWith('*.') ? name.endsWith(rule.slice(1)) && name.length > rule.length - 1 : name === rule;
}
