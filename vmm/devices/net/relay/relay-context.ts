// What the relays of all protocols share, and what they are given of the host.
import type { EventLoop } from '../../../host/event-loop.js';
import type { PublishedSocket } from '../../../machine.js';
import type { AddressMap } from './address-map.js';
import type { GuestLink } from './link.js';
import type { OutsideSockets } from './outside-sockets.js';
import type { Places } from './places.js';

export interface RelayContext {
  loop: EventLoop;
  link: GuestLink;
  map: AddressMap;
  places: Places;
  sockets: OutsideSockets;
}

/** A published port's socket. It is non-blocking. */
export interface PublishedFd extends PublishedSocket {
  fd: number;
}
