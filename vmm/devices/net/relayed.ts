// The default back end: TCP by the relay, which is part of this process, and UDP and ping by passt.
// The end of passt costs no connection.
import type { EventLoop } from '../../host/event-loop.js';
import type { NetworkSpec } from '../../machine.js';
import type { CheckedFrame, FrameReceiver, NetBackEnd } from './back-end.js';
import { TCP } from './frame.js';
import { PasstBackEnd, type PasstOptions } from './passt.js';
import type { OutsideSockets } from './relay/outside-sockets.js';
import { type Listener, TcpRelay } from './relay/relay.js';

export interface RelayedOptions extends PasstOptions {
  loop: EventLoop;
  /** Listening sockets of the published ports. The back end owns them. */
  listeners: readonly Listener[];
  /** A socket to a passt that has been started. The back end owns it. */
  passt: number;
  /** Connects for the guest. */
  sockets: OutsideSockets;
}

export class RelayedBackEnd implements NetBackEnd {
  /** Neither needs the guest's checksums. */
  readonly offloads = true;
  readonly passt: PasstBackEnd;
  readonly #relay: TcpRelay;

  constructor(spec: NetworkSpec, options: RelayedOptions) {
    const { loop, listeners, sockets } = options;
    this.passt = new PasstBackEnd(spec, options.passt, options);
    this.#relay = new TcpRelay(spec, { loop, listeners, sockets });
  }

  get busy(): boolean {
    return this.passt.busy;
  }

  attach(receiver: FrameReceiver): void {
    this.#relay.attach(receiver);
    this.passt.attach(receiver);
  }

  detach(): void {
    this.#relay.detach();
    this.passt.detach();
  }

  send(frame: CheckedFrame): void {
    if (frame.frame.kind === TCP) this.#relay.send(frame);
    else this.passt.send(frame);
  }

  resume(): void {
    this.#relay.resume();
    this.passt.resume();
  }

  [Symbol.dispose](): void {
    this.#relay[Symbol.dispose]();
    this.passt[Symbol.dispose]();
  }
}
