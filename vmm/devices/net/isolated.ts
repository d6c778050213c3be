// The back end of a guest whose networks are all internal. It drops every frame except questions for
// the gateway's hardware address: the guest sends its peers' frames there.
import type { CheckedFrame, FrameReceiver, NetBackEnd } from './back-end.js';
import { NET_HEADER } from './header.js';
import { answerNeighbour } from './neighbours.js';

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

  send(checked: CheckedFrame): void {
    const reply = answerNeighbour(checked, this.#mac);
    if (reply === undefined) return;
    // A reply that finds no room is lost: the guest asks again.
    this.#receiver?.receive(this.#header, reply, 0, reply.length);
    this.#receiver?.flush();
  }

  resume(): void {}

  [Symbol.dispose](): void {}
}
