// The frames that passt(1) is sent in the guest's name: those that announce the guest before it runs,
// and the question whether passt still answers.

import { isIPv4Address, isLinkLocal, parseAddress } from '../../../addresses/ip.js';
import type { NetworkSpec } from '../../machine.js';
import {
  ETHERNET_HEADER,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV6,
  ICMPV6_ADVERTISEMENT,
  PROTOCOL_ICMPV6,
  u16,
  u32,
} from './frame.js';
import { addChecksum, foldChecksum } from './header.js';
import { parseMac } from './mac-address.js';

const IPV6_HEADER = 40;
const ADVERTISEMENT = 24;
/**
 * The hop limit that neighbour discovery requires: no router forwards it unchanged (RFC 4861, 7.1).
 */
const HOP_LIMIT = 255;
/** The flag Override of an advertisement. */
const OVERRIDE = 0x20;
/** Of an ARP frame, and offsets in it: the sender, and the target's hardware address and address. */
const ARP_LENGTH = ETHERNET_HEADER + 28;
const ARP_OPERATION = ETHERNET_HEADER + 6;
const ARP_SENDER = ETHERNET_HEADER + 8;
const ARP_TARGET = ETHERNET_HEADER + 18;
const ARP_TARGET_ADDRESS = ETHERNET_HEADER + 24;
const ARP_REPLY = 2;

/**
 * The frames. The first, if the guest has IPv6, announces its link-local address: passt sends it
 * what comes from the host's loopback address. The last is an ARP request, whose reply shows that
 * passt is serving.
 */
export function greeting(spec: NetworkSpec): Uint8Array[] {
  const local = spec.addresses.find(isLinkLocal);
  const gateway = spec.gateways.find(isLinkLocal);
  const isDual = local !== undefined && gateway !== undefined;
  return [...(isDual ? [advertisement(spec, local, gateway)] : []), arpRequest(spec)];
}

/**
 * An unsolicited neighbour advertisement of the guest's address (RFC 4861, 4.4). It has no reply.
 */
function advertisement({ mac, gatewayMac }: NetworkSpec, address: string, gateway: string): Uint8Array {
  const header = ETHERNET_HEADER;
  const message = header + IPV6_HEADER;
  const bytes = new Uint8Array(message + ADVERTISEMENT);
  const view = new DataView(bytes.buffer);
  bytes.set(parseMac(gatewayMac), 0);
  bytes.set(parseMac(mac), 6);
  view.setUint16(12, ETHERTYPE_IPV6);
  view.setUint32(header, 0x60000000);
  view.setUint16(header + 4, ADVERTISEMENT);
  view.setUint8(header + 6, PROTOCOL_ICMPV6);
  view.setUint8(header + 7, HOP_LIMIT);
  setAddress(view, header + 8, address);
  setAddress(view, header + 24, gateway);
  view.setUint8(message, ICMPV6_ADVERTISEMENT);
  view.setUint8(message + 4, OVERRIDE);
  setAddress(view, message + 8, address);
  const pseudo = addChecksum(bytes, header + 8, 32, PROTOCOL_ICMPV6 + ADVERTISEMENT);
  view.setUint16(message + 2, foldChecksum(addChecksum(bytes, message, ADVERTISEMENT, pseudo)));
  return bytes;
}

function setAddress(view: DataView, at: number, text: string): void {
  parseAddress(text).forEach((word, index) => {
    view.setUint32(at + index * 4, word);
  });
}

/**
 * An ARP request that passt answers at once. It asks in the name of 0.0.0.0, which the guest may
 * not use (RFC 5227, 2.1.1).
 */
export function probe(spec: NetworkSpec): Uint8Array {
  return arpRequest(spec).fill(0, ARP_SENDER, ARP_TARGET);
}

/** Returns true for the reply to {@link probe}: `length` bytes at `start` of `bytes`. */
export function isProbeReply(bytes: Uint8Array, start: number, length: number): boolean {
  return (
    length >= ARP_LENGTH &&
    u16(bytes, start + 12) === ETHERTYPE_ARP &&
    u16(bytes, start + ARP_OPERATION) === ARP_REPLY &&
    u32(bytes, start + ARP_TARGET_ADDRESS) === 0
  );
}

/** An ARP request for the gateway's address (RFC 826). */
function arpRequest({ mac, addresses, gateways }: NetworkSpec): Uint8Array {
  const bytes = new Uint8Array(42);
  const view = new DataView(bytes.buffer);
  bytes.fill(0xff, 0, 6);
  bytes.set(parseMac(mac), 6);
  view.setUint16(12, ETHERTYPE_ARP);
  view.setUint32(14, 0x00010800);
  view.setUint32(18, 0x06040001);
  bytes.set(parseMac(mac), 22);
  const ipv4 = (texts: string[]) => texts.map(parseAddress).find((address) => isIPv4Address(address))?.[3] ?? 0;
  view.setUint32(28, ipv4(addresses));
  view.setUint32(38, ipv4(gateways));
  return bytes;
}
