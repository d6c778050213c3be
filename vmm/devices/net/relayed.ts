// The default back end: TCP by the relay, which is part of this process, and UDP and ping by passt.
// The end of passt costs no connection.
import type { EventLoop } from '../../host/event-loop.js';
import type { MachineError, NetworkSpec, PasstSpec, PublishedPorts } from '../../machine.js';
import type { CheckedFrame, FrameReceiver, NetBackEnd } from './back-end.js';
import { TCP } from './frame.js';
import { HostPorts } from './host-ports.js';
import { PasstBackEnd } from './passt.js';
import { type OutsideSockets, OwnSockets } from './relay/outside-sockets.js';
import { TcpRelay } from './relay/relay.js';

export interface RelayedOptions {
  loop: EventLoop;
  /** The network serves, and these ports of the host are bound. Called again after `onDown`. */
  onUp(ports: PublishedPorts[]): void;
  /** See {@link PasstBackEnd}. */
  onDown(error: MachineError): void;
  patience?: number;
  /** Connects for the guest. Default: this process. */
  sockets?: OutsideSockets;
}

export class RelayedBackEnd implements NetBackEnd {
  /** Neither needs the guest's checksums. */
  readonly offloads = true;
  readonly #passt: PasstBackEnd;
  readonly #relay: TcpRelay;

  /** @throws MachineError `no-network` if passt is not installed, or a port is not available */
  constructor(spec: NetworkSpec, backEnd: PasstSpec, options: RelayedOptions) {
    const { loop, onUp, onDown, patience, sockets = new OwnSockets() } = options;
    const of = (protocol: string) => backEnd.ports.filter((each) => each.protocol === protocol);
    const everywhere = spec.gateways.length > 1 ? ['0.0.0.0', '::'] : ['0.0.0.0'];
    using ports = new HostPorts(of('tcp'), everywhere);
    this.#passt = new PasstBackEnd(
      spec,
      { ...backEnd, ports: of('udp') },
      {
        ...{ loop, onDown, onUp: (datagrams) => onUp([...ports.bound, ...datagrams]) },
        ...(patience === undefined ? {} : { patience }),
      },
    );
    this.#relay = new TcpRelay(spec, backEnd, { loop, listeners: ports.take(), sockets });
  }

  get busy(): boolean {
    return this.#passt.busy;
  }

  attach(receiver: FrameReceiver): void {
    this.#relay.attach(receiver);
    this.#passt.attach(receiver);
  }

  detach(): void {
    this.#relay.detach();
    this.#passt.detach();
  }

  send(frame: CheckedFrame): void {
    if (frame.frame.kind === TCP) this.#relay.send(frame);
    else this.#passt.send(frame);
  }

  resume(): void {
    this.#relay.resume();
    this.#passt.resume();
  }

  [Symbol.dispose](): void {
    this.#relay[Symbol.dispose]();
    this.#passt[Symbol.dispose]();
  }
}
