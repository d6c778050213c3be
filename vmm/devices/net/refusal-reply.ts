// The reply to a refused frame, so that a program in the guest fails at once rather than after
// minutes. A TCP connection is reset (RFC 9293, 3.5.2), and a DNS query is answered REFUSED. Other
// frames have no reply.
import type { RefusalReason } from '../../machine.js';
import { DNS_PORT, refuseQuery } from './dns.js';
import {
  ETHERNET_HEADER,
  type Frame,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
  UDP,
  u32,
} from './frame.js';
import { addChecksum, foldChecksum } from './header.js';

const TTL = 64;
const UDP_HEADER = 8;
const TCP_HEADER = 20;

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
  if (frame.kind === TCP && (frame.tcpFlags & (TCP_SYN | TCP_ACK)) === TCP_SYN) return reset(frame, bytes);
  if (frame.kind === UDP && frame.destinationPort === DNS_PORT && frame.end <= whole) {
    const answer = refuseQuery(bytes.subarray(frame.payload, frame.end));
    return answer === undefined ? undefined : datagram(frame, bytes, answer);
  }
  return undefined;
}

/** The TCP reset for the connection that the frame opens. */
function reset(frame: Frame, bytes: Uint8Array): Uint8Array {
  const segment = new Uint8Array(TCP_HEADER);
  const view = new DataView(segment.buffer);
  view.setUint16(0, frame.destinationPort);
  view.setUint16(2, frame.sourcePort);
  const length = frame.end - frame.payload;
  view.setUint32(8, (u32(bytes, frame.transport + 4) + 1 + length) >>> 0);
  segment[12] = (TCP_HEADER / 4) << 4;
  segment[13] = TCP_RST | TCP_ACK;
  return envelope(frame, bytes, PROTOCOL_TCP, segment, 16);
}

/** A datagram to the sender of the frame. */
export function datagram(frame: Frame, bytes: Uint8Array, payload: Uint8Array): Uint8Array {
  const segment = new Uint8Array(UDP_HEADER + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, frame.destinationPort);
  view.setUint16(2, frame.sourcePort);
  view.setUint16(4, segment.length);
  segment.set(payload, UDP_HEADER);
  return envelope(frame, bytes, PROTOCOL_UDP, segment, 6);
}

/**
 * Wraps the segment in a frame to the sender of `frame`.
 * @param checksumAt offset of the segment's checksum
 */
function envelope(
  frame: Frame,
  bytes: Uint8Array,
  protocol: number,
  segment: Uint8Array,
  checksumAt: number,
): Uint8Array {
  const header = frame.transport;
  const answer = new Uint8Array(header + segment.length);
  const view = new DataView(answer.buffer);
  answer.set(bytes.subarray(6, 12), 0);
  answer.set(bytes.subarray(0, 6), 6);
  answer.set(bytes.subarray(12, 14), 12);
  const ip = ETHERNET_HEADER;
  // Swaps source and destination: 4 or 16 bytes each.
  const [addresses, size] = frame.isIPv4 ? [ip + 12, 4] : [ip + 8, 16];
  answer.set(bytes.subarray(addresses + size, addresses + 2 * size), addresses);
  answer.set(bytes.subarray(addresses, addresses + size), addresses + size);
  if (frame.isIPv4) {
    answer[ip] = 0x45;
    view.setUint16(ip + 2, header - ip + segment.length);
    answer[ip + 8] = TTL;
    answer[ip + 9] = protocol;
    view.setUint16(ip + 10, foldChecksum(addChecksum(answer, ip, header - ip)));
  } else {
    answer[ip] = 0x60;
    view.setUint16(ip + 4, segment.length);
    answer[ip + 6] = protocol;
    answer[ip + 7] = TTL;
  }
  // The pseudo header: both addresses, protocol and length.
  const pseudo = addChecksum(answer, addresses, 2 * size, protocol + segment.length);
  const checksum = foldChecksum(addChecksum(segment, 0, segment.length, pseudo));
  answer.set(segment, header);
  // A UDP checksum of 0 means that there is none.
  view.setUint16(header + checksumAt, checksum === 0 && protocol === PROTOCOL_UDP ? 0xffff : checksum);
  return answer;
}
