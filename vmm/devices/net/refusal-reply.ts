// The reply to a refused frame, so that a program in the guest or outside fails at once rather than
// after minutes. A TCP connection is reset (RFC 9293, 3.5.2), and a DNS query is answered REFUSED.
// Other frames have no reply.

import { isIPv4Address } from '../../../addresses/ip.js';
import type { RefusalReason } from '../../machine.js';
import { DNS_PORT, refuseQuery } from './dns.js';
import {
  ETHERNET_HEADER,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type Frame,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP,
  TCP_ACK,
  TCP_FIN,
  TCP_RST,
  TCP_SYN,
  UDP,
} from './frame.js';
import { addChecksum, foldChecksum } from './header.js';

const TTL = 64;
const UDP_HEADER = 8;
const TCP_HEADER = 20;
const TCP_CHECKSUM = 16;
const UDP_CHECKSUM = 6;

/**
 * Returns the reply to a refused frame; undefined if there is none.
 * @param bytes the frame's first `whole` bytes
 */
export function answerRefusal(
  frame: Frame,
  bytes: Uint8Array,
  whole: number,
  reason: RefusalReason,
): Uint8Array | undefined {
  if (reason === 'spoofed' || reason === 'next-hop') return undefined;
  if (frame.kind === TCP) return reason === 'malformed' ? undefined : resetOf(frame, bytes);
  if (frame.kind === UDP && frame.destinationPort === DNS_PORT && frame.end <= whole) {
    const answer = refuseQuery(bytes.subarray(frame.payload, frame.end));
    return answer === undefined ? undefined : datagram(frame, bytes, answer);
  }
  return undefined;
}

/**
 * The TCP reset for a segment that opens a connection or belongs to none, to its sender; undefined
 * for a reset. The frame's headers are at the beginning of `bytes`.
 */
export function resetOf(frame: Frame, bytes: Uint8Array): Uint8Array | undefined {
  const { tcpFlags } = frame;
  if ((tcpFlags & TCP_RST) !== 0) return undefined;
  const reply = replyTo(frame, bytes);
  if ((tcpFlags & TCP_ACK) !== 0) return tcpReset(reply, frame.acknowledgment, undefined);
  const isOne = (flag: number) => ((tcpFlags & flag) === 0 ? 0 : 1);
  const length = frame.end - frame.payload + isOne(TCP_SYN) + isOne(TCP_FIN);
  return tcpReset(reply, 0, (frame.sequence + length) >>> 0);
}

/** Where a packet of the device's own comes from and goes to. */
export interface Direction {
  /** Six bytes each. */
  sourceMac: Uint8Array;
  destinationMac: Uint8Array;
  source: Uint32Array;
  destination: Uint32Array;
  sourcePort: number;
  destinationPort: number;
}

function replyTo(frame: Frame, bytes: Uint8Array): Direction {
  return {
    sourceMac: bytes.subarray(0, 6),
    destinationMac: bytes.subarray(6, 12),
    source: frame.destination,
    destination: frame.source,
    sourcePort: frame.destinationPort,
    destinationPort: frame.sourcePort,
  };
}

/** A TCP reset. @param acknowledgment undefined: the segment acknowledges nothing */
export function tcpReset(direction: Direction, sequence: number, acknowledgment: number | undefined): Uint8Array {
  const segment = new Uint8Array(TCP_HEADER);
  const view = new DataView(segment.buffer);
  view.setUint16(0, direction.sourcePort);
  view.setUint16(2, direction.destinationPort);
  view.setUint32(4, sequence);
  view.setUint32(8, acknowledgment ?? 0);
  segment[12] = (TCP_HEADER / 4) << 4;
  segment[13] = acknowledgment === undefined ? TCP_RST : TCP_RST | TCP_ACK;
  return packet(direction, PROTOCOL_TCP, segment, TCP_CHECKSUM);
}

/** A datagram to the sender of the frame. */
export function datagram(frame: Frame, bytes: Uint8Array, payload: Uint8Array): Uint8Array {
  const segment = new Uint8Array(UDP_HEADER + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, frame.destinationPort);
  view.setUint16(2, frame.sourcePort);
  view.setUint16(4, segment.length);
  segment.set(payload, UDP_HEADER);
  return packet(replyTo(frame, bytes), PROTOCOL_UDP, segment, UDP_CHECKSUM);
}

/** Wraps the segment in a frame. @param checksumAt offset of the segment's checksum */
function packet(direction: Direction, protocol: number, segment: Uint8Array, checksumAt: number): Uint8Array {
  const isIPv4 = isIPv4Address(direction.destination);
  const ip = ETHERNET_HEADER;
  // Source and destination: 4 or 16 bytes each.
  const [addresses, size] = isIPv4 ? [ip + 12, 4] : [ip + 8, 16];
  const header = addresses + 2 * size;
  const frame = new Uint8Array(header + segment.length);
  const view = new DataView(frame.buffer);
  frame.set(direction.destinationMac, 0);
  frame.set(direction.sourceMac, 6);
  view.setUint16(12, isIPv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
  for (const [index, words] of [direction.source, direction.destination].entries()) {
    const at = addresses + index * size;
    for (let word = 4 - size / 4; word < 4; word++) view.setUint32(at + (word - 4) * 4 + size, words[word]!);
  }
  if (isIPv4) {
    frame[ip] = 0x45;
    view.setUint16(ip + 2, header - ip + segment.length);
    frame[ip + 8] = TTL;
    frame[ip + 9] = protocol;
    view.setUint16(ip + 10, foldChecksum(addChecksum(frame, ip, header - ip)));
  } else {
    frame[ip] = 0x60;
    view.setUint16(ip + 4, segment.length);
    frame[ip + 6] = protocol;
    frame[ip + 7] = TTL;
  }
  // The pseudo header: both addresses, protocol and length.
  const pseudo = addChecksum(frame, addresses, 2 * size, protocol + segment.length);
  const checksum = foldChecksum(addChecksum(segment, 0, segment.length, pseudo));
  frame.set(segment, header);
  // A UDP checksum of 0 means that there is none.
  view.setUint16(header + checksumAt, checksum === 0 && protocol === PROTOCOL_UDP ? 0xffff : checksum);
  return frame;
}
