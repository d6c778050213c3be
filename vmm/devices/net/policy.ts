// What a guest may send. Each of its frames is examined, and passes only if it is understood and
// allowed. Frames to the guest are examined too: for connections that they open, and for answers of
// the resolver.

import {
  type Address,
  type AddressRange,
  isInAnyRange,
  isSameAddress,
  parseAddress,
  parseRange,
} from '../../../addresses/ip.js';
import type { NetworkSpec, RefusalReason } from '../../machine.js';
import { EgressAddress } from '../../outside/egress-address.js';
import type { HostAddresses } from '../../outside/host-addresses.js';
import { Rules } from '../../outside/rules.js';
import { DNS_PORT, isPlain, parseQueries, parseQuery, type Question } from './dns.js';
import { Flows, type ForgottenFlow } from './flows.js';
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
import { isSameMac, parseMac } from './mac-address.js';
import { Questions } from './questions.js';
import { ResolvedNames } from './resolved-names.js';

/** Offsets of an Ethernet frame's addresses. */
const DESTINATION_MAC = 0;
const SOURCE_MAC = 6;
/** Offset of an ARP message's sender hardware address in the frame. */
const SENDER_MAC = 22;
const ARP_REQUEST = 1;
const ARP_REPLY = 2;
const BROADCAST = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff);

/**
 * What becomes of a frame to the guest: it passes; it is for a port from which the device asked a
 * question, so that only the answer passes; it belongs to no connection; it opens one too many.
 */
export type Arrival = 'pass' | 'answer' | 'no-connection' | 'limit';

export interface PolicyOptions extends Omit<NetworkSpec, 'mtu' | 'optional' | 'peers'> {
  host: Pick<HostAddresses, 'ranges'>;
  /** Called for a connection that gives its place to another, with the guest's address. */
  onForgotten: (flow: ForgottenFlow, own: Address) => void;
}

/** What judges frames. */
export type FramePolicy = Pick<
  Policy,
  'outgoing' | 'departs' | 'isQuery' | 'isFromPeer' | 'incoming' | 'translate' | 'answered'
>;

export class Policy {
  readonly #mac: Uint8Array;
  readonly #gatewayMac: Uint8Array;
  readonly #own: Address[];
  readonly #gateways: Address[];
  readonly #resolvers: Address[];
  readonly #rules: Rules;
  readonly #egress: EgressAddress | undefined;
  readonly #peerRanges: AddressRange[];
  readonly #names: ResolvedNames;
  readonly #published: ReadonlySet<number>;
  readonly #questions: Questions;
  readonly #flows: Flows;
  /** The question of the frame that passed last, if the device asks it in its own words. */
  #question: Question | undefined;

  /** @throws RangeError for an invalid address or range */
  constructor({ host, onForgotten, ...spec }: PolicyOptions) {
    this.#mac = parseMac(spec.mac);
    this.#gatewayMac = parseMac(spec.gatewayMac);
    this.#own = spec.addresses.map(parseAddress);
    this.#gateways = spec.gateways.map(parseAddress);
    this.#resolvers = spec.resolvers.map(parseAddress);
    this.#rules = new Rules(spec.rules, host);
    const egress = spec.backEnd.kind === 'relay' ? spec.backEnd.egress : undefined;
    this.#egress = egress && new EgressAddress(egress);
    this.#peerRanges = spec.peerRanges.map(parseRange);
    this.#names = new ResolvedNames(this.#rules.names);
    this.#published = publishedPorts(spec);
    this.#questions = new Questions((port) => this.#published.has(port));
    this.#flows = new Flows(spec.maxConnections, (flow) => onForgotten(flow, this.#own[flow.own]!));
  }

  /**
   * Returns the reason to refuse one of the guest's frames; undefined if it may pass.
   * @param toPeer the frame is for a peer in a private network, where everything is allowed as on a
   * cable
   * @param bytes the frame's headers, or the whole frame if it has at most `whole` bytes
   * @param now in seconds, above 0
   */
  outgoing(frame: Frame, bytes: Uint8Array, whole: number, now: number, toPeer = false): RefusalReason | undefined {
    this.#question = undefined;
    if (!isSameMac(this.#mac, bytes, SOURCE_MAC)) return 'spoofed';
    const isForGateway = isSameMac(this.#gatewayMac, bytes, DESTINATION_MAC);
    if (frame.kind === ARP) return this.#resolution(frame, bytes, isForGateway);
    if (frame.kind === NEIGHBOUR) return this.#discovery(frame, bytes, isForGateway);
    if (frame.kind !== TCP && frame.kind !== UDP && frame.kind !== ECHO) return 'malformed';
    const own = indexOf(this.#own, frame.source);
    if (own < 0) return 'spoofed';
    if (!isForGateway) return 'next-hop';
    if (toPeer) return undefined;
    return this.#packet(frame, bytes, whole, now, own);
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

  #packet(frame: Frame, bytes: Uint8Array, whole: number, now: number, own: number): RefusalReason | undefined {
    const isToResolver = frame.destinationPort === DNS_PORT && isOneOf(this.#resolvers, frame.destination);
    if (frame.kind === TCP && !isOpening(frame)) {
      if (!this.#flows.has(frame, true, now)) return 'no-connection';
      return isToResolver ? this.#segment(frame, bytes, whole, now) : undefined;
    }
    // A query needs no flow: each is judged, and its answers are told by their source.
    if (frame.kind === UDP && isToResolver) return this.#query(frame, bytes, whole, now);
    if (frame.kind === UDP && this.#flows.has(frame, true, now)) return undefined;
    if (frame.kind === ECHO && frame.isReply) return 'malformed';
    const reason = isToResolver ? this.#query(frame, bytes, whole, now) : this.#judge(frame, now);
    if (reason !== undefined || frame.kind === ECHO) return reason;
    return this.#flows.open(frame, true, now, own) ? undefined : 'limit';
  }

  #judge(frame: Frame, now: number): RefusalReason | undefined {
    const isEgress = frame.kind === TCP && this.#egress?.has(frame.destination, frame.destinationPort) === true;
    return isEgress ? undefined : this.#rules.judge(frame, this.#names, now);
  }

  /**
   * Judges a query to the guest's resolver, whose address needs no rule. If rules restrict names,
   * the query must be understood and ask for an allowed name. Otherwise the guest could send data
   * to anyone in the names that it queries. A resolver in a closed range is asked about names only:
   * its zones are not the guest's to read as a whole, or to change.
   */
  #query(frame: Frame, bytes: Uint8Array, whole: number, now: number): RefusalReason | undefined {
    const access = this.#resolverAccess(frame, now);
    if (access === 'denied') return 'denied';
    if (frame.kind === TCP) {
      if (access === 'plain') return this.#questions.hasTruncated(frame.destination, now) ? undefined : 'name';
      return access === 'names' ? 'name' : undefined;
    }
    if (access === 'free' && this.#rules.names.length === 0) return undefined;
    const question = frame.end <= whole ? parseQuery(bytes.subarray(frame.payload, frame.end)) : undefined;
    if (question === undefined) return access === 'free' ? undefined : 'name';
    if (access === 'names' && !this.#rules.mayAsk(question.name)) return 'name';
    if (access !== 'free' && !isPlain(question) && !this.#rules.isOpen(frame, now)) return 'name';
    this.#question = question;
    return undefined;
  }

  /**
   * What the guest may ask the resolver that the frame is for: everything; what names names, if
   * they are not restricted; names that the rules allow.
   */
  #resolverAccess(frame: Frame, now: number): 'denied' | 'free' | 'plain' | 'names' {
    const byAddress = this.#rules.byAddress(frame);
    if (byAddress !== undefined) return byAddress === 'denied' ? 'denied' : 'free';
    if (this.#rules.restrictNames) return 'names';
    return this.#rules.isOpen(frame, now) ? 'free' : 'plain';
  }

  /** Judges a segment to a resolver, to which a connection was let through. */
  #segment(frame: Frame, bytes: Uint8Array, whole: number, now: number): RefusalReason | undefined {
    if (frame.end === frame.payload || this.#resolverAccess(frame, now) !== 'plain') return undefined;
    const questions = frame.end <= whole ? parseQueries(bytes.subarray(frame.payload, frame.end)) : undefined;
    const mayAsk = (question: Question) =>
      isPlain(question) && this.#questions.isTruncated(frame.destination, question.name, now);
    return questions?.every(mayAsk) === true ? undefined : 'name';
  }

  /**
   * Completes a frame that passed: asks the guest's question in the device's own words.
   * @param bytes the frame's headers, or the whole frame; changed in place
   * @param pending the checksum is not complete yet
   */
  departs(frame: Frame, bytes: Uint8Array, pending: boolean, now: number): void {
    if (this.#question !== undefined) this.#questions.ask(frame, bytes, this.#question, pending, now);
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

  /**
   * Judges a frame to the guest, and records it: a connection or datagram that comes unasked opens
   * a flow. May be called again for a frame that found no room.
   */
  incoming(frame: Frame, now: number): Arrival {
    if (frame.kind === TCP) {
      if (isOpening(frame)) return this.#flows.open(frame, false, now, this.#indexOf(frame)) ? 'pass' : 'limit';
      return this.#flows.has(frame, false, now) ? 'pass' : 'no-connection';
    }
    if (frame.kind !== UDP) return 'pass';
    if (this.#isFromResolver(frame)) {
      if (this.#questions.isForOwnPort(frame, now)) return 'answer';
      // Nothing that comes to a published port is an answer.
      if (!this.#published.has(frame.destinationPort)) return 'pass';
    }
    return this.#flows.has(frame, false, now) || this.#flows.open(frame, false, now) ? 'pass' : 'limit';
  }

  #isFromResolver(frame: Frame): boolean {
    return frame.sourcePort === DNS_PORT && isOneOf(this.#resolvers, frame.source);
  }

  /**
   * The guest's copy of an arrived `answer`; undefined if it answers none of the questions.
   * @param bytes the whole frame
   * @param pending the checksum is not complete yet
   */
  translate(frame: Frame, bytes: Uint8Array, pending: boolean, now: number): Uint8Array | undefined {
    return this.#questions.translate(frame, bytes, pending, now);
  }

  /** Records an `answer` that reached the guest. The whole frame is at `start` of `bytes`. */
  answered(frame: Frame, bytes: Uint8Array, start: number, now: number): void {
    const question = this.#questions.close(frame, bytes, start, now);
    if (question === undefined || this.#rules.names.length === 0) return;
    this.#names.answered(question, bytes.subarray(start + frame.payload, start + frame.end), now);
  }

  #indexOf(frame: Frame): number {
    return Math.max(0, indexOf(this.#own, frame.destination));
  }
}

/** Returns true for the first segment of a connection. */
function isOpening(frame: Frame): boolean {
  return (frame.tcpFlags & (TCP_SYN | TCP_ACK)) === TCP_SYN;
}

/** The guest's UDP ports that clients outside reach. */
function publishedPorts({ backEnd }: Pick<NetworkSpec, 'backEnd'>): Set<number> {
  const ports = 'ports' in backEnd ? backEnd.ports.filter(({ protocol }) => protocol === 'udp') : [];
  return new Set(ports.flatMap(({ guest, count }) => Array.from({ length: count }, (_, index) => guest + index)));
}

function isOneOf(addresses: readonly Address[], words: Uint32Array): boolean {
  return indexOf(addresses, words) >= 0;
}

/** Allocates nothing, as it runs for each frame. */
function indexOf(addresses: readonly Address[], words: Uint32Array): number {
  for (let index = 0; index < addresses.length; index++) if (isSameAddress(addresses[index]!, words)) return index;
  return -1;
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
