// What a guest may send. Each of its frames is examined, and passes only if it is understood and
// allowed. Frames to the guest are examined too: for connections that they open, and for answers of
// the resolver.
import type { NetworkRule, NetworkSpec, RefusalReason } from '../../machine.js';
import {
  type Address,
  type AddressRange,
  isInAnyRange,
  isInRange,
  isSameAddress,
  isSameMac,
  isWithin,
  parseAddress,
  parseMac,
  parseRange,
} from './address.js';
import { closedRanges } from './closed-ranges.js';
import { DNS_PORT, parseQuery } from './dns.js';
import { Flows } from './flows.js';
import {
  ARP,
  ECHO,
  type Frame,
  ICMPV6_ADVERTISEMENT,
  NEIGHBOUR,
  NEIGHBOUR_LENGTH,
  TCP,
  TCP_ACK,
  TCP_SYN,
  UDP,
  u16,
  u32,
} from './frame.js';
import { HostAddresses } from './host-addresses.js';
import { matchesName, ResolvedNames } from './resolved-names.js';

/** Seconds without a datagram after which a UDP flow ends. */
const UDP_PATIENCE = 180;

interface Rule {
  allow: boolean;
  range: AddressRange | undefined;
  name: string | undefined;
  ports: readonly [number, number] | undefined;
}

function compileRule({ allow, range, name, ports }: NetworkRule): Rule {
  return { allow, range: range === undefined ? undefined : parseRange(range), name: name?.toLowerCase(), ports };
}

/** Offsets of an Ethernet frame's addresses. */
const DESTINATION_MAC = 0;
const SOURCE_MAC = 6;
/** Offset of an ARP message's sender hardware address in the frame. */
const SENDER_MAC = 22;
const ARP_REQUEST = 1;
const ARP_REPLY = 2;
const BROADCAST = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff);

export class Policy {
  readonly #mac: Uint8Array;
  readonly #gatewayMac: Uint8Array;
  readonly #own: Address[];
  readonly #gateways: Address[];
  readonly #resolvers: Address[];
  readonly #rules: Rule[];
  readonly #peerRanges: AddressRange[];
  readonly #host: Pick<HostAddresses, 'ranges'>;
  readonly #names: ResolvedNames;
  /** Some rule allows something, so nothing else is allowed. */
  readonly #isList: boolean;
  readonly #hasNames: boolean;
  readonly #flows = new Flows();

  /** @throws RangeError for an invalid address or range */
  constructor(spec: Omit<NetworkSpec, 'backEnd' | 'mtu'>, host: Pick<HostAddresses, 'ranges'> = new HostAddresses()) {
    this.#host = host;
    this.#mac = parseMac(spec.mac);
    this.#gatewayMac = parseMac(spec.gatewayMac);
    this.#own = spec.addresses.map(parseAddress);
    this.#gateways = spec.gateways.map(parseAddress);
    this.#resolvers = spec.resolvers.map(parseAddress);
    this.#rules = spec.rules.map(compileRule);
    this.#peerRanges = spec.peerRanges.map(parseRange);
    this.#isList = this.#rules.some(({ allow }) => allow);
    const names = this.#rules.flatMap(({ name }) => name ?? []);
    this.#hasNames = names.length > 0;
    this.#names = new ResolvedNames(names);
  }

  /**
   * Returns the reason to refuse one of the guest's frames; undefined if it may pass.
   * @param toPeer the frame is for a peer in a private network, where everything is allowed as on a
   * cable
   * @param bytes the frame's headers, or the whole frame if it has at most `whole` bytes
   * @param now in seconds, above 0
   */
  outgoing(frame: Frame, bytes: Uint8Array, whole: number, now: number, toPeer = false): RefusalReason | undefined {
    if (!isSameMac(this.#mac, bytes, SOURCE_MAC)) return 'spoofed';
    const isForGateway = isSameMac(this.#gatewayMac, bytes, DESTINATION_MAC);
    if (frame.kind === ARP) return this.#resolution(frame, bytes, isForGateway);
    if (frame.kind === NEIGHBOUR) return this.#discovery(frame, bytes, isForGateway);
    if (frame.kind !== TCP && frame.kind !== UDP && frame.kind !== ECHO) return 'malformed';
    if (!isOneOf(this.#own, frame.source)) return 'spoofed';
    if (!isForGateway) return 'next-hop';
    if (toPeer) return undefined;
    return this.#packet(frame, bytes, whole, now);
  }

  /** ARP: the guest may ask for the gateway's address, and announce its own. */
  #resolution(frame: Frame, bytes: Uint8Array, isForGateway: boolean): RefusalReason | undefined {
    if (frame.operation !== ARP_REQUEST && frame.operation !== ARP_REPLY) return 'malformed';
    if (!isOneOf(this.#own, frame.source) || !isSameMac(this.#mac, bytes, SENDER_MAC)) return 'spoofed';
    const isHeard = isForGateway || isSameMac(BROADCAST, bytes, DESTINATION_MAC);
    return isHeard && isOneOf(this.#gateways, frame.destination) ? undefined : 'next-hop';
  }

  /**
   * Neighbour discovery: the guest may ask for the gateway's address, and announce its own to the
   * gateway.
   */
  #discovery(frame: Frame, bytes: Uint8Array, isForGateway: boolean): RefusalReason | undefined {
    const { destination, target } = frame;
    // The only hardware address in a message must be the guest's own.
    const option = frame.transport + NEIGHBOUR_LENGTH;
    const isOwnMac = frame.end === option || isSameMac(this.#mac, bytes, option + 2);
    if (!isOneOf(this.#own, frame.source) || !isOwnMac) return 'spoofed';
    const isToGateway = isForGateway && isOneOf(this.#gateways, destination);
    if (frame.operation === ICMPV6_ADVERTISEMENT) {
      if (!isOneOf(this.#own, target)) return 'spoofed';
      return isToGateway ? undefined : 'next-hop';
    }
    const isHeard = isToGateway || (isSolicitedNode(destination, target) && isMulticastOf(destination, bytes));
    return isHeard && isOneOf(this.#gateways, target) ? undefined : 'next-hop';
  }

  #packet(frame: Frame, bytes: Uint8Array, whole: number, now: number): RefusalReason | undefined {
    const isOpening = frame.kind === TCP && (frame.tcpFlags & (TCP_SYN | TCP_ACK)) === TCP_SYN;
    const isQuery = frame.destinationPort === DNS_PORT && isOneOf(this.#resolvers, frame.destination);
    if (frame.kind === TCP && !isOpening) {
      return this.#flows.has(frame, true, now, Number.POSITIVE_INFINITY) ? undefined : 'no-connection';
    }
    if (frame.kind === UDP && !isQuery && this.#flows.has(frame, true, now, UDP_PATIENCE)) return undefined;
    if (frame.kind === ECHO && frame.isReply) return 'malformed';
    const reason = isQuery ? this.#query(frame, bytes, whole) : this.#judge(frame, now);
    if (reason === undefined && frame.kind !== ECHO) this.#flows.add(frame, true, now);
    return reason;
  }

  #judge(frame: Frame, now: number): RefusalReason | undefined {
    let allowed = !this.#isList;
    for (const rule of this.#rules) {
      if (!this.#matches(rule, frame, now)) continue;
      if (!rule.allow) return 'denied';
      allowed = true;
    }
    const closed = closedRanges(frame.destination, this.#host.ranges(now));
    if (!closed.every((range) => this.#opens(range, frame))) return 'closed';
    return allowed ? undefined : 'not-allowed';
  }

  #matches({ range, name, ports }: Rule, frame: Frame, now: number): boolean {
    if (!hasPort(ports, frame)) return false;
    if (range !== undefined) return isInRange(range, frame.destination);
    return name !== undefined && this.#names.has(frame.destination, name, now);
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
   * Judges a query to the guest's resolver, whose address needs no rule. If rules restrict names,
   * the query must be understood and ask for an allowed name. Otherwise the guest could send data
   * to anyone in the names that it queries.
   */
  #query(frame: Frame, bytes: Uint8Array, whole: number): RefusalReason | undefined {
    const byRange = this.#rules.filter(
      ({ range, ports }) => range !== undefined && isInRange(range, frame.destination) && hasPort(ports, frame),
    );
    if (byRange.some(({ allow }) => !allow)) return 'denied';
    const isFree = byRange.length > 0 || (!this.#isList && !this.#hasNames);
    if (frame.kind === TCP) return isFree ? undefined : 'name';
    if (isFree && !this.#hasNames) return undefined;
    const question = frame.end <= whole ? parseQuery(bytes.subarray(frame.payload, frame.end)) : undefined;
    if (question === undefined) return isFree ? undefined : 'name';
    if (!isFree && !this.#mayAsk(question.name)) return 'name';
    this.#names.asked(frame.destination, frame.sourcePort, question);
    return undefined;
  }

  #mayAsk(name: string): boolean {
    const rules = this.#rules.filter((rule) => rule.name !== undefined && matchesName(rule.name, name));
    // A rule with ports denies only those ports, not the name.
    if (rules.some(({ allow, ports }) => !allow && ports === undefined)) return false;
    return !this.#isList || rules.some(({ allow }) => allow);
  }

  /** Returns true for a UDP query to one of the guest's resolvers. */
  isQuery(frame: Frame): boolean {
    return frame.kind === UDP && frame.destinationPort === DNS_PORT && isOneOf(this.#resolvers, frame.destination);
  }

  /**
   * Returns true if a peer's frame is from the peer's own address, to the guest, and of an allowed
   * kind.
   */
  isFromPeer(frame: Frame, address: number): boolean {
    if (frame.kind !== TCP && frame.kind !== UDP && frame.kind !== ECHO) return false;
    const { source } = frame;
    if (source[3] !== address || !isInAnyRange(this.#peerRanges, source)) return false;
    return isOneOf(this.#own, frame.destination);
  }

  /** Records a frame to the guest. The whole frame is at `start` of `bytes`. */
  incoming(frame: Frame, bytes: Uint8Array, start: number, now: number): void {
    if (frame.kind === TCP) {
      if ((frame.tcpFlags & (TCP_SYN | TCP_ACK)) === TCP_SYN) this.#flows.add(frame, false, now);
    } else if (frame.kind === UDP) {
      if (this.#hasNames && frame.sourcePort === DNS_PORT && isOneOf(this.#resolvers, frame.source)) {
        const message = bytes.subarray(start + frame.payload, start + frame.end);
        this.#names.answered(frame.source, frame.destinationPort, message, now);
      }
      this.#flows.add(frame, false, now);
    }
  }
}

function hasPort(ports: Rule['ports'], frame: Frame): boolean {
  if (ports === undefined) return true;
  return frame.kind !== ECHO && frame.destinationPort >= ports[0] && frame.destinationPort <= ports[1];
}

function isOneOf(addresses: readonly Address[], words: Uint32Array): boolean {
  for (const address of addresses) if (isSameAddress(address, words)) return true;
  return false;
}

/** ff02::1:ff00:0/104 and the last 24 bits of the target (RFC 4291, 2.7.1). */
function isSolicitedNode(destination: Uint32Array, target: Uint32Array): boolean {
  const [first, second, third, last] = destination;
  return first === 0xff020000 && second === 0 && third === 1 && last === (0xff000000 | target[3]!) >>> 0;
}

/** 33:33 and the last 32 bits of the address (RFC 2464, 7). */
function isMulticastOf(address: Uint32Array, bytes: Uint8Array): boolean {
  return u16(bytes, DESTINATION_MAC) === 0x3333 && u32(bytes, DESTINATION_MAC + 2) === address[3];
}
