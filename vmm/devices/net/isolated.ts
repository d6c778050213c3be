// The back end of a guest whose networks are all internal. It drops every frame except ARP
// requests: the guest sends its peers' frames to the gateway, so the back end answers for the
// gateway's address (RFC 826).
import { type CheckedFrame, type FrameReceiver, HEADROOM, type NetBackEnd } from './back-end.js';
import { ETHERNET_HEADER, ETHERTYPE_ARP, u16 } from './frame.js';
import { NET_HEADER } from './header.js';

const ARP_REQUEST = 1;
const ARP_REPLY = 2;
/** In an ARP message: operation, then hardware and protocol address of sender and target. */
const OPERATION = 6;
const SENDER = 8;
const TARGET = 18;
const ADDRESSES = 10;
const MAC = 6;

export class IsolatedBackEnd implements NetBackEnd {
  readonly offloads = true;
  readonly busy = false;
  readonly #mac: Uint8Array;
  readonly #header = new Uint8Array(NET_HEADER);
  #receiver: FrameReceiver | undefined;

  /** @param mac the gateway's */
  constructor(mac: Uint8Array) {
    this.#mac = mac;
  }

  attach(receiver: FrameReceiver): void {
    this.#receiver = receiver;
  }

  detach(): void {
    this.#receiver = undefined;
  }

  send({ bytes, copied }: CheckedFrame): void {
    const frame = bytes.slice(HEADROOM, HEADROOM + copied);
    if (u16(frame, 12) !== ETHERTYPE_ARP || u16(frame, ETHERNET_HEADER + OPERATION) !== ARP_REQUEST) return;
    const message = frame.subarray(ETHERNET_HEADER);
    frame.copyWithin(0, MAC, 2 * MAC);
    frame.set(this.#mac, MAC);
    message[OPERATION + 1] = ARP_REPLY;
    const sender = message.slice(SENDER, SENDER + ADDRESSES);
    message.copyWithin(SENDER, TARGET, TARGET + ADDRESSES);
    message.set(sender, TARGET);
    message.set(this.#mac, SENDER);
    this.#receiver?.receive(this.#header, frame, 0, frame.length);
    this.#receiver?.flush();
  }

  resume(): void {}

  [Symbol.dispose](): void {}
}
