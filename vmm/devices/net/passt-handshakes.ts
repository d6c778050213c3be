// The beginnings of TCP connections between the guest and passt(1). passt of Debian 12 (version
// 2023_03_09) has two faults here:
// - It never acknowledges the guest's SYN-ACK before the client has sent data. So a server that
//   speaks first is not heard. The device acknowledges in its place.
// - It loops for ever if one read from its socket brings it a segment that opens a connection and
//   another segment of the same connection: it counts how many segments it has handled, and always
//   begins at the first. So the second one waits until passt has read the first.
// The reply to an ARP request shows that passt has read all that was sent before it. Such a probe
// asks for the gateway in the name of 0.0.0.0, which the guest may not use, and its number is the
// sender's hardware address, which the reply repeats (RFC 5227, 2.1.1).

import type { NetworkSpec } from '../../machine.js';
import { ETHERNET_HEADER, ETHERTYPE_ARP, Frame, MAX_HEADERS, TCP, TCP_ACK, TCP_SYN, u16, u32 } from './frame.js';
import { arpRequest } from './passt-greeting.js';
import { acknowledgmentOf } from './refusal-reply.js';

/** More are never open at once. Of more SYNs that stay without an answer, the oldest is forgotten. */
const MAX_OPENINGS = 65536;

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
const OPTION_WINDOW_SCALE = 3;
/** RFC 7323, 2.3. */
const MAX_SCALE = 14;

/** A connection whose first segment passt has sent, or has not read yet. */
interface Opening {
  key: string;
  /** What passt's SYN said. The scale is undefined without the option. */
  window: number;
  scale: number | undefined;
  /** The number of the probe that passt has not answered. */
  probe?: number;
  /** The acknowledgment for the guest, once passt has read the guest's SYN-ACK. */
  acknowledgment?: Uint8Array;
}

export class Handshakes {
  readonly #probe: Uint8Array;
  readonly #frame = new Frame();
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
   * @returns true if it may be sent; a probe if that must be sent after it; false if it must not be
   * sent, and the guest repeats it
   */
  outgoing(frame: Frame, bytes: Uint8Array): boolean | Uint8Array {
    const isOpening = (frame.tcpFlags & TCP_SYN) !== 0;
    if (frame.kind !== TCP || (!isOpening && this.#openings.size === 0)) return true;
    const key = keyOf(frame.destination, frame.source, frame.sourcePort, frame.destinationPort);
    const isAnswer = (frame.tcpFlags & (TCP_SYN | TCP_ACK)) === (TCP_SYN | TCP_ACK);
    let opening = this.#openings.get(key);
    if (opening?.probe !== undefined) return false;
    if (opening === undefined) {
      if (!isOpening || isAnswer) return true;
      opening = this.#open(key, 0, undefined);
    } else if (isAnswer) {
      const isScaled = opening.scale !== undefined && scaleOf(bytes, frame) !== undefined;
      const window = isScaled ? Math.max(1, opening.window >>> opening.scale!) : opening.window;
      opening.acknowledgment = acknowledgmentOf(frame, bytes, window);
    }
    const probe = this.probe();
    opening.probe = this.#lastProbe;
    this.#probed.set(opening.probe, opening);
    return probe;
  }

  /** Returns an ARP request that passt answers at once, and {@link incoming} swallows the reply. */
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
    if (frame.kind !== TCP || (frame.tcpFlags & (TCP_SYN | TCP_ACK)) !== TCP_SYN) return true;
    const key = keyOf(frame.source, frame.destination, frame.destinationPort, frame.sourcePort);
    const window = u16(bytes, start + frame.transport + 14);
    this.#open(key, window, scaleOf(bytes.subarray(start), frame));
    return true;
  }

  #reply(bytes: Uint8Array, start: number, length: number): true | Uint8Array | undefined {
    const isReply = length >= ARP_LENGTH && u16(bytes, start + ETHERNET_HEADER + 6) === 2;
    if (!isReply || u32(bytes, start + TARGET + MAC) !== 0) return true;
    const opening = this.#probed.get(u32(bytes, start + TARGET + NUMBER));
    if (opening === undefined) return undefined;
    this.#forget(opening);
    return opening.acknowledgment;
  }

  #open(key: string, window: number, scale: number | undefined): Opening {
    const old = this.#openings.get(key) ?? (this.#openings.size < MAX_OPENINGS ? undefined : this.#oldest());
    if (old !== undefined) this.#forget(old);
    const opening = { key, window, scale };
    this.#openings.set(key, opening);
    return opening;
  }

  #oldest(): Opening | undefined {
    return this.#openings.values().next().value;
  }

  #forget({ key, probe }: Opening): void {
    this.#openings.delete(key);
    if (probe !== undefined) this.#probed.delete(probe);
  }
}

function keyOf(remote: Uint32Array, local: Uint32Array, guestPort: number, remotePort: number): string {
  return `${remote.join()} ${local.join()} ${guestPort} ${remotePort}`;
}

/** The option Window Scale of a segment whose frame begins at `bytes`; undefined without it. */
function scaleOf(bytes: Uint8Array, { transport, payload }: Frame): number | undefined {
  for (let at = transport + TCP_HEADER; at < payload; ) {
    const kind = bytes[at]!;
    if (kind === OPTION_END) break;
    const length = kind === OPTION_NONE ? 1 : at + 1 < payload ? bytes[at + 1]! : 0;
    if (length === 0 || at + length > payload) break;
    if (kind === OPTION_WINDOW_SCALE && length === 3) return Math.min(bytes[at + 2]!, MAX_SCALE);
    at += length;
  }
  return undefined;
}
