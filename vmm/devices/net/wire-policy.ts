// What a guest may send on the wire of an interface that an engine made: anything, from the
// interface's own hardware address. What else is refused is the engine's to say, in its network.
import type { RefusalReason } from '../../machine.js';
import { ETHERNET_HEADER, type Frame } from './frame.js';
import { isSameMac, parseMac } from './mac-address.js';
import type { Arrival, FramePolicy } from './policy.js';

/** Offset of an Ethernet frame's source address. */
const SOURCE_MAC = 6;

export class WirePolicy implements FramePolicy {
  readonly #mac: Uint8Array;

  /** @throws RangeError for an invalid address */
  constructor(mac: string) {
    this.#mac = parseMac(mac);
  }

  outgoing(frame: Frame, bytes: Uint8Array): RefusalReason | undefined {
    if (frame.end < ETHERNET_HEADER) return 'malformed';
    return isSameMac(this.#mac, bytes, SOURCE_MAC) ? undefined : 'spoofed';
  }

  incoming(): Arrival {
    return 'pass';
  }

  // It asks nothing in its own words, and there are no private networks.
  departs(): void {}
  isQuery(): boolean {
    return false;
  }
  isFromPeer(): boolean {
    return false;
  }
  translate(): undefined {}
  answered(): void {}
}
