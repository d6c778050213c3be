// The link to the guest: writes headers before a payload, and hands the frame to the guest. Frames
// are made in one buffer of this process, whose address the host's calls get. A checksum of TCP or
// UDP is left to the guest's kernel, which knows that the link is this process's memory.

import { isIPv4Address } from '../../../../addresses/ip.js';
import * as libc from '../../../host/libc.js';
import type { FrameReceiver } from '../back-end.js';
import {
  ETHERNET_HEADER,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../frame.js';
import {
  addChecksum,
  foldChecksum,
  NET_HEADER,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
} from '../header.js';

/** Offset of the payload in the buffer. The headers of a frame are before it. */
export const PAYLOAD = 128;
/** Bytes of a connection that one call reads. */
export const ROOM = 256 * 1024;
const TTL = 64;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const TCP_HEADER = 20;
const TCP_CHECKSUM = 16;
const UDP_HEADER = 8;
const UDP_CHECKSUM = 6;
/** An ICMP message's header, and what an error quotes of the packet after its IP header. */
const ICMP_HEADER = 8;
export const QUOTED = 8;
/**
 * Type and code of ICMP and of ICMPv6 for why a packet did not arrive (RFC 792, "Destination
 * Unreachable"; RFC 1812, 5.2.7.1; RFC 4443, 3.1): no process has the port, no way leads to the host,
 * the host's firewall or rules forbid it.
 */
export const UNREACHABLE = {
  port: [0x0303, 0x0104],
  host: [0x0301, 0x0103],
  prohibited: [0x030d, 0x0101],
} as const;
const DONT_FRAGMENT = 0x4000;

export interface LinkOptions {
  mac: Uint8Array;
  gatewayMac: Uint8Array;
}

export class GuestLink implements Disposable {
  /** Address of the buffer in this process. */
  readonly memory: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #options: LinkOptions;
  readonly #header = new Uint8Array(NET_HEADER);
  readonly #headerView = new DataView(this.#header.buffer);
  readonly #length = PAYLOAD + ROOM;
  receiver: FrameReceiver | undefined;
  /** The guest has had no room since the last {@link resume}. */
  full = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS;
    this.memory = libc.check(libc.mmap(null, this.#length, libc.PROT_READ | libc.PROT_WRITE, flags, -1, 0), 'mmap');
    const buffer = libc.viewMemory(this.memory, this.#length);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
  }

  /** True if the guest takes TCP segments larger than its maximum segment size. */
  get takesSegments(): boolean {
    return this.receiver?.takesSegments ?? false;
  }

  /**
   * Sends a TCP segment whose payload of `length` bytes is at `at`.
   * @param options bytes of options, which are right before `at`
   * @param mss the guest's maximum segment size
   * @returns false if the guest has no room
   */
  tcp(
    remote: Uint32Array,
    local: Uint32Array,
    ports: number,
    sequence: number,
    acknowledged: number,
    flags: number,
    window: number,
    at: number,
    length: number,
    options = 0,
    mss = 65535,
  ): boolean {
    const header = TCP_HEADER + options;
    const tcp = at - header;
    const { view } = this;
    view.setUint16(tcp, ports);
    view.setUint16(tcp + 2, ports >>> 16);
    view.setInt32(tcp + 4, sequence);
    view.setInt32(tcp + 8, acknowledged);
    view.setUint8(tcp + 12, header << 2);
    view.setUint8(tcp + 13, flags);
    view.setUint16(tcp + 14, window);
    view.setUint32(tcp + 16, 0);
    const start = this.#envelope(tcp, header + length, PROTOCOL_TCP, remote, local, TCP_CHECKSUM);
    if (length > mss) {
      this.#header[1] = isIPv4Address(remote) ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
      this.#headerView.setUint16(2, at - start, true);
      this.#headerView.setUint16(4, mss, true);
    }
    return this.#send(start, at + length - start);
  }

  /** Sends a datagram whose payload is at {@link PAYLOAD}. Returns false if the guest has no room. */
  udp(remote: Uint32Array, local: Uint32Array, ports: number, length: number): boolean {
    const udp = PAYLOAD - UDP_HEADER;
    const { view } = this;
    view.setUint16(udp, ports);
    view.setUint16(udp + 2, ports >>> 16);
    view.setUint16(udp + 4, UDP_HEADER + length);
    const start = this.#envelope(udp, UDP_HEADER + length, PROTOCOL_UDP, remote, local, UDP_CHECKSUM);
    return this.#send(start, PAYLOAD + length - start);
  }

  /**
   * Sends the ICMP message at {@link PAYLOAD}, and completes its checksum. Returns false if the guest
   * has no room.
   */
  icmp(remote: Uint32Array, local: Uint32Array, length: number): boolean {
    const isIPv4 = isIPv4Address(remote);
    const protocol = isIPv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
    const start = this.#envelope(PAYLOAD, length, protocol, remote, local, -1);
    this.view.setUint16(PAYLOAD + 2, 0);
    const pseudo = isIPv4 ? 0 : pseudoSum(remote, local, protocol, length);
    this.view.setUint16(PAYLOAD + 2, foldChecksum(addChecksum(this.bytes, PAYLOAD, length, pseudo)));
    return this.#send(start, PAYLOAD + length - start);
  }

  /**
   * Tells the guest why a packet of it did not arrive. One that finds no room is lost.
   * @param length of the packet after its IP header, which begins with the {@link QUOTED} bytes
   */
  unreachable(
    why: keyof typeof UNREACHABLE,
    remote: Uint32Array,
    local: Uint32Array,
    protocol: number,
    quoted: Uint8Array,
    length: number,
  ): void {
    const isIPv4 = isIPv4Address(remote);
    const ip = PAYLOAD + ICMP_HEADER;
    const header = isIPv4 ? IPV4_HEADER : IPV6_HEADER;
    this.view.setUint16(PAYLOAD, UNREACHABLE[why][isIPv4 ? 0 : 1]);
    this.view.setUint32(PAYLOAD + 4, 0);
    this.writeIp(ip, length, protocol, local, remote);
    this.bytes.set(quoted.subarray(0, QUOTED), ip + header);
    this.icmp(remote, local, ICMP_HEADER + header + QUOTED);
  }

  /** Sends a whole frame without offloads. Returns false if the guest has no room. */
  frame(bytes: Uint8Array): boolean {
    this.#header.fill(0);
    this.bytes.set(bytes, PAYLOAD);
    return this.#send(PAYLOAD, bytes.length);
  }

  /**
   * Writes Ethernet and IP headers before the transport's, which is `length` bytes long with its
   * payload. Leaves its checksum, at `checksum` of it, to the receiver. Returns the frame's start.
   */
  #envelope(
    transport: number,
    length: number,
    protocol: number,
    remote: Uint32Array,
    local: Uint32Array,
    checksum: number,
  ): number {
    const { view } = this;
    const isIPv4 = isIPv4Address(remote);
    const ip = transport - (isIPv4 ? IPV4_HEADER : IPV6_HEADER);
    this.writeIp(ip, length, protocol, remote, local);
    const start = ip - ETHERNET_HEADER;
    this.bytes.set(this.#options.mac, start);
    this.bytes.set(this.#options.gatewayMac, start + 6);
    view.setUint16(start + 12, isIPv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
    const header = this.#header;
    header.fill(0);
    if (checksum >= 0) {
      header[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
      this.#headerView.setUint16(6, transport - start, true);
      this.#headerView.setUint16(8, checksum, true);
      // The pseudo header's sum, not complemented (virtio 1.2, 5.1.6.2).
      view.setUint16(transport + checksum, 0xffff - foldChecksum(pseudoSum(remote, local, protocol, length)));
    }
    return start;
  }

  /** Writes an IP header at `ip` for a packet from `source` with `length` bytes after the header. */
  writeIp(ip: number, length: number, protocol: number, source: Uint32Array, destination: Uint32Array): void {
    const { view } = this;
    if (isIPv4Address(source)) {
      view.setUint16(ip, 0x4500);
      view.setUint16(ip + 2, IPV4_HEADER + length);
      view.setUint16(ip + 4, 0);
      view.setUint16(ip + 6, DONT_FRAGMENT);
      view.setUint8(ip + 8, TTL);
      view.setUint8(ip + 9, protocol);
      view.setUint16(ip + 10, 0);
      view.setUint32(ip + 12, source[3]!);
      view.setUint32(ip + 16, destination[3]!);
      view.setUint16(ip + 10, foldChecksum(addChecksum(this.bytes, ip, IPV4_HEADER)));
    } else {
      view.setUint32(ip, 0x60000000);
      view.setUint16(ip + 4, length);
      view.setUint8(ip + 6, protocol);
      view.setUint8(ip + 7, protocol === PROTOCOL_ICMPV6 ? 255 : TTL);
      for (let word = 0; word < 4; word++) {
        view.setUint32(ip + 8 + word * 4, source[word]!);
        view.setUint32(ip + 24 + word * 4, destination[word]!);
      }
    }
  }

  #send(start: number, length: number): boolean {
    const { receiver } = this;
    // Without a driver, frames are lost as on a cable that leads nowhere.
    if (receiver === undefined) return true;
    if (this.full || !receiver.receive(this.#header, this.bytes, start, length)) {
      this.full = true;
      return false;
    }
    return true;
  }

  [Symbol.dispose](): void {
    libc.munmap(this.memory, this.#length);
  }
}

/** The sum over the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1). */
function pseudoSum(source: Uint32Array, destination: Uint32Array, protocol: number, length: number): number {
  let sum = protocol + length;
  // The constant word of a mapped IPv4 address is not part of the header.
  for (let word = isIPv4Address(source) ? 3 : 0; word < 4; word++) {
    const from = source[word]!;
    const to = destination[word]!;
    sum += (from >>> 16) + (from & 0xffff) + (to >>> 16) + (to & 0xffff);
  }
  return sum;
}
