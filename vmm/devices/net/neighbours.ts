// The gateway's answers to the guest's questions for its hardware address: ARP (RFC 826) and
// neighbour discovery (RFC 4861). All addresses beyond the link are the gateway's.
import { type CheckedFrame, HEADROOM } from './back-end.js';
import { ARP, ETHERNET_HEADER, type Frame, ICMPV6_ADVERTISEMENT, ICMPV6_SOLICITATION, NEIGHBOUR } from './frame.js';
import { addChecksum, foldChecksum } from './header.js';

const ARP_REQUEST = 1;
const ARP_REPLY = 2;
/** In an ARP message: operation, then hardware and protocol address of sender and target. */
const OPERATION = 6;
const SENDER = 8;
const TARGET = 18;
const ADDRESSES = 10;
const MAC = 6;

const IPV6_HEADER = 40;
/** Of an IPv6 header: addresses. */
const SOURCE = 8;
const DESTINATION = 24;
const ADDRESS = 16;
/** A solicitation or advertisement without options, and the option with a hardware address. */
const MESSAGE = 24;
const OPTION = 8;
const NEXT_HEADER_ICMPV6 = 58;
const TARGET_OPTION = 2;
/** Neighbour discovery requires it: no router forwards it unchanged (RFC 4861, 7.1). */
const HOP_LIMIT = 255;
/** The flags Router, Solicited and Override. */
const FLAGS = 0xe0;

/** The answer to a frame that asks for a neighbour; undefined for any other. @param mac the gateway's */
export function answerNeighbour({ frame, bytes, copied }: CheckedFrame, mac: Uint8Array): Uint8Array | undefined {
  const copy = bytes.slice(HEADROOM, HEADROOM + copied);
  if (frame.kind === ARP) return frame.operation === ARP_REQUEST ? arpReply(copy, mac) : undefined;
  if (frame.kind === NEIGHBOUR) return advertisement(frame, copy, mac);
  return undefined;
}

function arpReply(bytes: Uint8Array, mac: Uint8Array): Uint8Array {
  const message = bytes.subarray(ETHERNET_HEADER);
  bytes.copyWithin(0, MAC, 2 * MAC);
  bytes.set(mac, MAC);
  message[OPERATION + 1] = ARP_REPLY;
  const sender = message.slice(SENDER, SENDER + ADDRESSES);
  message.copyWithin(SENDER, TARGET, TARGET + ADDRESSES);
  message.set(sender, TARGET);
  message.set(mac, SENDER);
  return bytes;
}

function advertisement({ operation, source }: Frame, asked: Uint8Array, mac: Uint8Array): Uint8Array | undefined {
  // A question from no address asks whether the guest's own address is another's.
  if (operation !== ICMPV6_SOLICITATION || source.every((word) => word === 0)) return undefined;
  const message = ETHERNET_HEADER + IPV6_HEADER;
  const reply = new Uint8Array(message + MESSAGE + OPTION);
  const view = new DataView(reply.buffer);
  reply.set(asked.subarray(0, message + MESSAGE));
  reply.copyWithin(0, MAC, 2 * MAC);
  reply.set(mac, MAC);
  view.setUint16(ETHERNET_HEADER + 4, MESSAGE + OPTION);
  view.setUint8(ETHERNET_HEADER + 7, HOP_LIMIT);
  const target = asked.subarray(message + 8, message + 8 + ADDRESS);
  const asker = asked.subarray(ETHERNET_HEADER + SOURCE, ETHERNET_HEADER + SOURCE + ADDRESS);
  reply.set(target, ETHERNET_HEADER + SOURCE);
  reply.set(asker, ETHERNET_HEADER + DESTINATION);
  view.setUint32(message, ICMPV6_ADVERTISEMENT << 24);
  view.setUint32(message + 4, FLAGS << 24);
  view.setUint16(message + MESSAGE, (TARGET_OPTION << 8) | 1);
  reply.set(mac, message + MESSAGE + 2);
  const pseudo = addChecksum(reply, ETHERNET_HEADER + SOURCE, 2 * ADDRESS, NEXT_HEADER_ICMPV6 + MESSAGE + OPTION);
  view.setUint16(message + 2, foldChecksum(addChecksum(reply, message, MESSAGE + OPTION, pseudo)));
  return reply;
}
