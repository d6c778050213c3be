// The headers of an Ethernet frame from or to a guest: Ethernet, ARP (RFC 826), IPv4 (RFC 791),
// IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC 768), ICMP echo (RFC 792, RFC 4443) and neighbour
// discovery (RFC 4861). A frame with anything else is rejected: fragments, IPv4 options, IPv6
// extension headers, other protocols. The parser checks the frame's length before it reads a
// header, so reads are in bounds.
import { isIPv4Address } from '../../../addresses/ip.js';

/**
 * The longest headers of a frame in bytes: Ethernet, IPv6, TCP with options. ARP and NDP are
 * shorter.
 */
export const MAX_HEADERS = 14 + 40 + 60;
export const ETHERNET_HEADER = 14;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;

export const TCP_FIN = 1;
export const TCP_SYN = 2;
export const TCP_RST = 4;
export const TCP_ACK = 16;

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const TCP_HEADER = 20;
const ECHO_HEADER = 8;
/** `struct arp` for Ethernet and IPv4. */
const ARP_LENGTH = 28;
/** Lengths of a neighbour discovery message, and of its only option, a hardware address. */
export const NEIGHBOUR_LENGTH = 24;
const HARDWARE_ADDRESS_OPTION = 8;

const ICMP_ECHO_REPLY = 0;
const ICMP_ECHO = 8;
const ICMPV6_ECHO = 128;
const ICMPV6_ECHO_REPLY = 129;
export const ICMPV6_SOLICITATION = 135;
export const ICMPV6_ADVERTISEMENT = 136;

/** Kinds of frames. `other` is any frame that the parser rejects. */
export const KINDS = ['other', 'arp', 'tcp', 'udp', 'echo', 'neighbour'] as const;
export const [OTHER, ARP, TCP, UDP, ECHO, NEIGHBOUR] = KINDS.keys() as unknown as [0, 1, 2, 3, 4, 5];

/** A parsed frame. One object is reused for all frames. */
export class Frame {
  /** Index in {@link KINDS}. */
  kind: number = OTHER;
  /** The reason for the kind `other`. */
  problem = '';
  etherType = 0;
  /** Source and destination; of ARP: sender and target. Four words each. */
  readonly source = new Uint32Array(4);
  readonly destination = new Uint32Array(4);
  /** The target of neighbour discovery, which is not the frame's destination. */
  readonly target = new Uint32Array(4);
  /** Ports of TCP and UDP, else 0. */
  sourcePort = 0;
  destinationPort = 0;
  tcpFlags = 0;
  /** Of TCP, else 0. The acknowledgment number counts only with its flag. */
  sequence = 0;
  acknowledgment = 0;
  /** ARP's operation, or the type of ICMP. */
  operation = 0;
  /** An echo reply rather than a request. */
  isReply = false;
  /** Offsets of the transport's header and of its payload. */
  transport = 0;
  payload = 0;
  /**
   * Length of the frame according to its headers, as far as they are understood. Bytes after it are
   * padding.
   */
  end = 0;

  get isIPv4(): boolean {
    return this.etherType === ETHERTYPE_IPV4;
  }

  get isPing(): boolean {
    return this.kind === ECHO;
  }

  /**
   * Parses the frame of `length` bytes at `start` of `bytes`, which holds at least the first
   * {@link MAX_HEADERS} bytes of a longer frame. The fields' offsets are relative to `start`.
   * @returns false if the kind is `other`
   */
  parse(bytes: Uint8Array, start: number, length: number): boolean {
    this.kind = OTHER;
    this.sourcePort = 0;
    this.destinationPort = 0;
    this.tcpFlags = 0;
    this.sequence = 0;
    this.acknowledgment = 0;
    this.end = length;
    if (length < ETHERNET_HEADER) return this.#refuse('a frame cut short');
    this.etherType = u16(bytes, start + 12);
    switch (this.etherType) {
      case ETHERTYPE_IPV4:
        return this.#parseIPv4(bytes, start, length);
      case ETHERTYPE_IPV6:
        return this.#parseIPv6(bytes, start, length);
      case ETHERTYPE_ARP:
        return this.#parseArp(bytes, start, length);
      default:
        return this.#refuse('neither IP nor ARP');
    }
  }

  #refuse(problem: string): false {
    this.kind = OTHER;
    this.problem = problem;
    return false;
  }

  #parseArp(bytes: Uint8Array, start: number, length: number): boolean {
    const at = start + ETHERNET_HEADER;
    if (length < ETHERNET_HEADER + ARP_LENGTH) return this.#refuse('a frame cut short');
    // Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
    if (u32(bytes, at) !== 0x00010800 || u16(bytes, at + 4) !== 0x0604) return this.#refuse('ARP of another kind');
    this.kind = ARP;
    this.operation = u16(bytes, at + 6);
    setIPv4(this.source, bytes, at + 14);
    setIPv4(this.destination, bytes, at + 24);
    this.end = ETHERNET_HEADER + ARP_LENGTH;
    return true;
  }

  #parseIPv4(bytes: Uint8Array, start: number, length: number): boolean {
    const at = start + ETHERNET_HEADER;
    if (length < ETHERNET_HEADER + IPV4_HEADER) return this.#refuse('a frame cut short');
    if (bytes[at]! >> 4 !== 4) return this.#refuse('no IPv4 header');
    setIPv4(this.source, bytes, at + 12);
    setIPv4(this.destination, bytes, at + 16);
    if (bytes[at] !== 0x45) return this.#refuse('IPv4 options');
    const total = u16(bytes, at + 2);
    if (total < IPV4_HEADER || ETHERNET_HEADER + total > length) return this.#refuse('a packet cut short');
    // More fragments, or an offset.
    if ((u16(bytes, at + 6) & 0x3fff) !== 0) return this.#refuse('a fragment');
    this.end = ETHERNET_HEADER + total;
    return this.#parseTransport(bytes, start, ETHERNET_HEADER + IPV4_HEADER, bytes[at + 9]!);
  }

  #parseIPv6(bytes: Uint8Array, start: number, length: number): boolean {
    const at = start + ETHERNET_HEADER;
    if (length < ETHERNET_HEADER + IPV6_HEADER) return this.#refuse('a frame cut short');
    if (bytes[at]! >> 4 !== 6) return this.#refuse('no IPv6 header');
    setIPv6(this.source, bytes, at + 8);
    setIPv6(this.destination, bytes, at + 24);
    // An IPv4-mapped address would be mistaken for the IPv4 address.
    if (isIPv4Address(this.source) || isIPv4Address(this.destination)) return this.#refuse('an IPv4 address in IPv6');
    const end = ETHERNET_HEADER + IPV6_HEADER + u16(bytes, at + 4);
    if (end > length) return this.#refuse('a packet cut short');
    this.end = end;
    return this.#parseTransport(bytes, start, ETHERNET_HEADER + IPV6_HEADER, bytes[at + 6]!);
  }

  #parseTransport(bytes: Uint8Array, start: number, offset: number, protocol: number): boolean {
    const at = start + offset;
    const length = this.end - offset;
    this.transport = offset;
    switch (protocol) {
      case PROTOCOL_TCP: {
        if (length < TCP_HEADER) return this.#refuse('a packet cut short');
        const header = (bytes[at + 12]! >> 4) * 4;
        if (header < TCP_HEADER || header > length) return this.#refuse('a malformed TCP header');
        this.tcpFlags = bytes[at + 13]!;
        this.sequence = u32(bytes, at + 4);
        this.acknowledgment = u32(bytes, at + 8);
        return this.#hasPorts(TCP, bytes, at, offset + header);
      }
      case PROTOCOL_UDP:
        if (length < UDP_HEADER || u16(bytes, at + 4) !== length) return this.#refuse('a malformed UDP header');
        return this.#hasPorts(UDP, bytes, at, offset + UDP_HEADER);
      case this.isIPv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6:
        return this.#parseIcmp(bytes, at, length);
      default:
        return this.#refuse(this.isIPv4 ? `IP protocol ${protocol}` : `IPv6 next header ${protocol}`);
    }
  }

  #hasPorts(kind: number, bytes: Uint8Array, at: number, payload: number): boolean {
    this.kind = kind;
    this.sourcePort = u16(bytes, at);
    this.destinationPort = u16(bytes, at + 2);
    this.payload = payload;
    return true;
  }

  #parseIcmp(bytes: Uint8Array, at: number, length: number): boolean {
    if (length < ECHO_HEADER) return this.#refuse('a packet cut short');
    const type = bytes[at]!;
    this.operation = type;
    const [request, reply] = this.isIPv4 ? [ICMP_ECHO, ICMP_ECHO_REPLY] : [ICMPV6_ECHO, ICMPV6_ECHO_REPLY];
    if ((type === request || type === reply) && bytes[at + 1] === 0) {
      this.kind = ECHO;
      this.isReply = type === reply;
    } else if (!this.isIPv4 && (type === ICMPV6_SOLICITATION || type === ICMPV6_ADVERTISEMENT)) {
      if (length < NEIGHBOUR_LENGTH) return this.#refuse('a packet cut short');
      if (!hasOneOption(bytes, at, length)) return this.#refuse('neighbour discovery of another kind');
      this.kind = NEIGHBOUR;
      setIPv6(this.target, bytes, at + 8);
    } else {
      return this.#refuse(this.isIPv4 ? `ICMP type ${type}` : `ICMPv6 type ${type}`);
    }
    return true;
  }
}

/** Returns true if the message has no option, or one with a hardware address (RFC 4861, 4.6.1). */
function hasOneOption(bytes: Uint8Array, at: number, length: number): boolean {
  if (length === NEIGHBOUR_LENGTH) return true;
  const option = at + NEIGHBOUR_LENGTH;
  const isAddress = bytes[option] === 1 || bytes[option] === 2;
  return length === NEIGHBOUR_LENGTH + HARDWARE_ADDRESS_OPTION && isAddress && bytes[option + 1] === 1;
}

export function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function u32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function setIPv4(words: Uint32Array, bytes: Uint8Array, at: number): void {
  words[0] = 0;
  words[1] = 0;
  words[2] = 0xffff;
  words[3] = u32(bytes, at);
}

function setIPv6(words: Uint32Array, bytes: Uint8Array, at: number): void {
  for (let word = 0; word < 4; word++) words[word] = u32(bytes, at + word * 4);
}
