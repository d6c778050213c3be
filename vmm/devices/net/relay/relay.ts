// The default back end: connections, datagrams and pings of the guest become those of sockets of the
// host, which the owner of the machine makes. Questions for the gateway's hardware address are
// answered here.
import type { EventLoop } from '../../../host/event-loop.js';
import { MAX_PER_PLACE, type NetworkSpec } from '../../../machine.js';
import type { CheckedFrame, FrameReceiver, NetBackEnd } from '../back-end.js';
import { ECHO, TCP, UDP } from '../frame.js';
import { parseMac } from '../mac-address.js';
import { answerNeighbour } from '../neighbours.js';
import { AddressMap } from './address-map.js';
import { EchoRelay } from './echo.js';
import { GuestLink } from './link.js';
import type { OutsideSockets } from './outside-sockets.js';
import { Places } from './places.js';
import type { PublishedFd } from './relay-context.js';
import { TcpRelay } from './tcp.js';
import { UdpRelay } from './udp.js';

export interface RelayOptions {
  loop: EventLoop;
  /** In the order of the spec. The back end owns them. */
  published: readonly PublishedFd[];
  sockets: OutsideSockets;
}

export class RelayBackEnd implements NetBackEnd {
  /** The guest's checksums are not needed. */
  readonly offloads = true;
  readonly busy = false;
  readonly #link: GuestLink;
  readonly #gatewayMac: Uint8Array;
  readonly #tcp: TcpRelay;
  readonly #udp: UdpRelay;
  readonly #echo: EchoRelay;

  /** @throws RangeError for an invalid address */
  constructor(spec: NetworkSpec, { loop, published, sockets }: RelayOptions) {
    this.#gatewayMac = parseMac(spec.gatewayMac);
    this.#link = new GuestLink({ mac: parseMac(spec.mac), gatewayMac: this.#gatewayMac });
    const places = new Places(spec.maxConnections * MAX_PER_PLACE);
    const context = { loop, link: this.#link, map: new AddressMap(spec), places, sockets };
    this.#tcp = new TcpRelay(
      spec,
      context,
      published.filter(({ protocol }) => protocol === 'tcp'),
    );
    this.#udp = new UdpRelay(context, published);
    this.#echo = new EchoRelay(context);
  }

  attach(receiver: FrameReceiver): void {
    this.#link.receiver = receiver;
    this.resume();
  }

  /** The guest's driver is gone, and with it all that its kernel knew of connections. */
  detach(): void {
    this.#link.receiver = undefined;
    for (const each of [this.#tcp, this.#udp, this.#echo]) each.clear();
  }

  send(checked: CheckedFrame): void {
    switch (checked.frame.kind) {
      case TCP:
        this.#tcp.send(checked);
        break;
      case UDP:
        this.#udp.send(checked);
        break;
      case ECHO:
        this.#echo.send(checked);
        break;
      default:
        this.#answer(checked);
    }
  }

  #answer(checked: CheckedFrame): void {
    const reply = answerNeighbour(checked, this.#gatewayMac);
    // One that finds no room is lost: the guest asks again.
    if (reply === undefined || !this.#link.frame(reply)) return;
    this.#link.receiver?.flush();
  }

  resume(): void {
    this.#link.full = false;
    this.#udp.resume();
    this.#tcp.resume();
  }

  [Symbol.dispose](): void {
    this.detach();
    for (const each of [this.#tcp, this.#udp, this.#echo]) each[Symbol.dispose]();
    this.#link[Symbol.dispose]();
  }
}
