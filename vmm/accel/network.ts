// Creates the network device of a machine and its back end.

import type { NetBackEnd } from '../devices/net/back-end.js';
import { VirtioNet } from '../devices/net/device.js';
import { IsolatedBackEnd } from '../devices/net/isolated.js';
import { parseMac } from '../devices/net/mac-address.js';
import type { NetworkSockets } from '../devices/net/peers.js';
import type { OutsideSockets } from '../devices/net/relay/outside-sockets.js';
import { RelayBackEnd } from '../devices/net/relay/relay.js';
import type { PublishedFd } from '../devices/net/relay/relay-context.js';
import { TapBackEnd } from '../devices/net/tap.js';
import type { EventLoop } from '../host/event-loop.js';
import { MachineError, type NetworkSpec, type Refusal } from '../machine.js';

/** What the owner of the machine opened for its network, and the network's events. */
export interface NetworkContext {
  loop: EventLoop;
  /** From openRouteSocket. The device owns it. */
  routeSocket: () => number;
  /** The descriptor of the tap interface of this network device. The device owns it. */
  tap: (index: number) => number;
  /** Sockets of the published ports. The device owns them. */
  published: () => PublishedFd[];
  /** Makes the guest's sockets. */
  sockets: OutsideSockets;
  networks: NetworkSockets;
  // Callbacks run inside the event loop.
  onNetworkUp(): void;
  onRefusal(refusal: Refusal): void;
}

/**
 * @throws MachineError `no-network` if the guest cannot join its private networks; `bad-spec` for a
 * malformed address
 */
export function createNet(spec: NetworkSpec, context: NetworkContext, index = 0): VirtioNet {
  try {
    const backEnd = createBackEnd(spec, context, index);
    const { loop, routeSocket, networks } = context;
    const onRefusal = (refusal: Refusal) => context.onRefusal(refusal);
    const net = new VirtioNet({ spec, backEnd, loop, routeSocket, networks, onRefusal });
    if (index === 0) context.onNetworkUp();
    return net;
  } catch (error) {
    if (error instanceof RangeError) throw new MachineError('bad-spec', error.message, { cause: error });
    throw error;
  }
}

function createBackEnd(
  spec: NetworkSpec,
  { loop, tap, published, sockets }: NetworkContext,
  index: number,
): NetBackEnd {
  switch (spec.backEnd.kind) {
    case 'relay':
      return new RelayBackEnd(spec, { loop, published: published(), sockets });
    case 'tap':
    case 'wire':
      return new TapBackEnd(tap(index), loop);
    case 'none':
      return new IsolatedBackEnd(parseMac(spec.gatewayMac));
  }
}
