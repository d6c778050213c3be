// The beginnings of TCP connections between the guest and passt(1). passt of Debian 12 (version
// 2023_03_09) has faults here, all in tcp.c:
// - It never acknowledges the guest's SYN-ACK before the client has sent data. So a server that
//   speaks first is not heard. The device acknowledges in its place.
// - If one read from its socket brings it a connection's first segment and another one, it handles
//   the first one twice: it loops for ever, or divides by the maximum segment size, which is still
//   0. So the others wait until passt has read the first.
// - It resets a connection of the guest whose SYN is repeated before the remote end has answered.
// - It divides by a quarter of the guest's maximum segment size.
// A segment that is held back is dropped: the guest repeats it.
//
// The reply to an ARP request shows that passt has read all that was sent before it. Such a probe
// asks for the gateway in the name of 0.0.0.0, which the guest may not use (RFC 5227, 2.1.1). Its
// number is the sender's hardware address, which the reply repeats.

import type { NetworkSpec } from '../../machine.js';
import {
  ETHERNET_HEADER,
  ETHERTYPE_ARP,
  Frame,
  MAX_HEADERS,
  TCP,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
  u16,
  u32,
} from './frame.js';
import { arpRequest } from './passt-greeting.js';
import { acknowledgmentOf } from './refusal-reply.js';

/** More are never open at once. Of more, the oldest is forgotten. */
const MAX_OPENINGS = 65536;
/** Milliseconds after which a connection has begun or failed: Linux repeats a SYN for 127 s. */
const PATIENCE = 130_000;

const ARP_LENGTH = ETHERNET_HEADER + 28;
/** Offsets in an ARP frame: the sender, and the target's hardware address and address. */
const SENDER = ETHERNET_HEADER + 8;
const TARGET = ETHERNET_HEADER + 18;
const MAC = 6;
/** The first byte of a hardware address that somebody chose, and the offset of its last 32 bits. */
const LOCAL = 2;
const NUMBER = 2;

const TCP_HEADER = 20;
const OPTION_END = 0;
const OPTION_NONE = 1;
const OPTION_SEGMENT_SIZE = 2;
const OPTION_WINDOW_SCALE = 3;
const MIN_SEGMENT_SIZE = 4;
/** RFC 7323, 2.3. */
const MAX_SCALE = 14;

/** A connection that has not begun. */
interface Opening {
  key: string;
  since: number;
  /**
   * What is waited for: the guest's answer to passt's SYN; that passt reads it; passt's answer to
   * the guest's SYN. A connection that passt has reset is dead: it gets nothing more.
   */
  state: 'guest' | 'probe' | 'passt' | 'dead';
  /** What passt's SYN said. The scale is undefined without the option. */
  window: number;
  scale: number | undefined;
  probe?: number;
  /** The acknowledgment for the guest, once passt has read the guest's SYN-ACK. */
  acknowledgment?: Uint8Array;
}

export class Handshakes {
  readonly #probe: Uint8Array;
  readonly #frame = new Frame();
  /** Oldest first. */
  readonly #openings = new Map<string, Opening>();
  readonly #probed = new Map<number, Opening>();
  #lastProbe = 0;

  constructor(spec: NetworkSpec) {
    this.#probe = arpRequest(spec);
    this.#probe.fill(0, SENDER, TARGET);
    this.#probe[SENDER] = LOCAL;
  }

  /**
   * Takes notice of a frame from the guest.
   * @param bytes the frame's headers
   * @returns true if it may be sent; a probe that must be sent after it; false if it must not be
   * sent
   */
  outgoing(frame: Frame, bytes: Uint8Array): boolean | Uint8Array {
    const opens = frame.tcpFlags & (TCP_SYN | TCP_ACK);
    const hasSyn = (opens & TCP_SYN) !== 0;
    if (frame.kind !== TCP || (!hasSyn && this.#openings.size === 0)) return true;
    const size = hasSyn ? optionOf(bytes, frame, OPTION_SEGMENT_SIZE, 4) : undefined;
    if (size !== undefined && size < MIN_SEGMENT_SIZE) return false;
    const key = keyOf(frame.destination, frame.source, frame.sourcePort, frame.destinationPort);
    const opening = this.#openings.get(key);
    const isLate = opening !== undefined && performance.now() - opening.since > PATIENCE;
    if (opening === undefined || isLate || (opening.state === 'dead' && opens === TCP_SYN)) {
      if (opens === TCP_SYN) this.#open(key, 'passt');
      return true;
    }
    if (opening.state !== 'guest') return false;
    if (opens === (TCP_SYN | TCP_ACK)) {
      const isScaled = opening.scale !== undefined && optionOf(bytes, frame, OPTION_WINDOW_SCALE, 3) !== undefined;
      const window = isScaled ? Math.max(1, opening.window >>> opening.scale!) : opening.window;
      opening.acknowledgment = acknowledgmentOf(frame, bytes, window);
    }
    const probe = this.probe();
    opening.state = 'probe';
    opening.probe = this.#lastProbe;
    this.#probed.set(opening.probe, opening);
    return probe;
  }

  /** Returns an ARP request that passt answers at once. {@link incoming} swallows the reply. */
  probe(): Uint8Array {
    this.#lastProbe = (this.#lastProbe + 1) >>> 0;
    new DataView(this.#probe.buffer).setUint32(SENDER + NUMBER, this.#lastProbe);
    return this.#probe;
  }

  /**
   * Takes notice of a frame from passt: `length` bytes at `start` of `bytes`.
   * @returns true if it is for the guest; otherwise what the guest gets in its place, if anything
   */
  incoming(bytes: Uint8Array, start: number, length: number): true | Uint8Array | undefined {
    if (length > MAX_HEADERS || length < ETHERNET_HEADER) return true;
    if (u16(bytes, start + 12) === ETHERTYPE_ARP) return this.#reply(bytes, start, length);
    const frame = this.#frame;
    frame.parse(bytes, start, length);
    if (frame.kind !== TCP || (frame.tcpFlags & (TCP_SYN | TCP_RST)) === 0) return true;
    const key = keyOf(frame.source, frame.destination, frame.destinationPort, frame.sourcePort);
    if ((frame.tcpFlags & (TCP_SYN | TCP_ACK)) === TCP_SYN) {
      const opening = this.#open(key, 'guest');
      opening.window = u16(bytes, start + frame.transport + 14);
      const scale = optionOf(bytes.subarray(start), frame, OPTION_WINDOW_SCALE, 3);
      if (scale !== undefined) opening.scale = Math.min(scale, MAX_SCALE);
      return true;
    }
    const opening = this.#openings.get(key);
    if (opening?.state === 'passt') this.#forget(opening);
    else if (opening !== undefined && (frame.tcpFlags & TCP_RST) !== 0) opening.state = 'dead';
    return true;
  }

  #reply(bytes: Uint8Array, start: number, length: number): true | Uint8Array | undefined {
    const isReply = length >= ARP_LENGTH && u16(bytes, start + ETHERNET_HEADER + 6) === 2;
    if (!isReply || u32(bytes, start + TARGET + MAC) !== 0) return true;
    const opening = this.#probed.get(u32(bytes, start + TARGET + NUMBER));
    if (opening === undefined) return undefined;
    this.#probed.delete(opening.probe!);
    if (opening.state === 'dead') return undefined;
    // passt resets a connection whose SYN the guest did not acknowledge.
    if (opening.acknowledgment === undefined) opening.state = 'dead';
    else this.#forget(opening);
    return opening.acknowledgment;
  }

  #open(key: string, state: Opening['state']): Opening {
    const now = performance.now();
    for (const old of this.#openings.values()) {
      if (now - old.since <= PATIENCE && this.#openings.size < MAX_OPENINGS) break;
      this.#forget(old);
    }
    const old = this.#openings.get(key);
    if (old !== undefined) this.#forget(old);
    const opening: Opening = { key, state, since: now, window: 0, scale: undefined };
    this.#openings.set(key, opening);
    return opening;
  }

  #forget({ key, probe }: Opening): void {
    this.#openings.delete(key);
    if (probe !== undefined) this.#probed.delete(probe);
  }
}

function keyOf(remote: Uint32Array, local: Uint32Array, guestPort: number, remotePort: number): string {
  return `${remote.join()} ${local.join()} ${guestPort} ${remotePort}`;
}

/**
 * The value of a TCP option of 3 or 4 bytes of a segment whose frame begins at `bytes`; undefined
 * without it.
 */
function optionOf(
  bytes: Uint8Array,
  { transport, payload }: Frame,
  wanted: number,
  wantedLength: number,
): number | undefined {
  for (let at = transport + TCP_HEADER; at < payload; ) {
    const kind = bytes[at]!;
    if (kind === OPTION_END) break;
    const length = kind === OPTION_NONE ? 1 : at + 1 < payload ? bytes[at + 1]! : 0;
    if (length === 0 || at + length > payload) break;
    if (kind === wanted && length === wantedLength) return length === 3 ? bytes[at + 2]! : u16(bytes, at + 2);
    at += length;
  }
  return undefined;
}
