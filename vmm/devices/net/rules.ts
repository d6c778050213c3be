// The rules of a guest's network, and what they say about a destination and about a name.

import { closedRanges } from '../../../addresses/closed-ranges.js';
import { type AddressRange, isInRange, isWithin, parseRange } from '../../../addresses/ip.js';
import type { NetworkRule } from '../../machine.js';
import { ECHO, type Frame } from './frame.js';
import type { HostAddresses } from './host-addresses.js';
import { matchesName, type ResolvedNames } from './resolved-names.js';

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

  /** Returns the reason to refuse a frame; undefined if it may be sent. @param now in seconds */
  judge(frame: Frame, names: ResolvedNames, now: number): 'denied' | 'closed' | 'not-allowed' | undefined {
    let allowed = !this.#isList;
    for (const rule of this.#rules) {
      if (!matches(rule, frame, names, now)) continue;
      if (!rule.allow) return 'denied';
      allowed = true;
    }
    if (!this.isOpen(frame, now)) return 'closed';
    return allowed ? undefined : 'not-allowed';
  }

  /** Returns true unless the frame's destination is in a closed range that no rule opens. */
  isOpen(frame: Frame, now: number): boolean {
    const closed = closedRanges(frame.destination, this.#host.ranges(now));
    return closed.every((range) => this.#opens(range, frame));
  }

  /** Returns true if a rule whose range is within the closed range allows the frame. */
  #opens(closed: AddressRange, frame: Frame): boolean {
    return this.#rules.some(
      ({ allow, range, ports }) =>
        allow &&
        range !== undefined &&
        isWithin(range, closed) &&
        isInRange(range, frame.destination) &&
        hasPort(ports, frame),
    );
  }

  /**
   * What the rules with addresses say about the frame: one denies it, one allows it; undefined if
   * none is about it.
   */
  byAddress(frame: Frame): 'denied' | 'allowed' | undefined {
    const about = this.#rules.filter(
      ({ range, ports }) => range !== undefined && isInRange(range, frame.destination) && hasPort(ports, frame),
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

function matches({ range, name, ports }: Rule, frame: Frame, names: ResolvedNames, now: number): boolean {
  if (!hasPort(ports, frame)) return false;
  if (range !== undefined) return isInRange(range, frame.destination);
  return name !== undefined && names.has(frame.destination, name, now);
}

function hasPort(ports: Rule['ports'], frame: Frame): boolean {
  if (ports === undefined) return true;
  return frame.kind !== ECHO && frame.destinationPort >= ports[0] && frame.destinationPort <= ports[1];
}
