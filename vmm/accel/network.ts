// Creates the network device of a machine and its back end.

import type { NetBackEnd } from '../devices/net/back-end.js';
import { VirtioNet } from '../devices/net/device.js';
import { IsolatedBackEnd } from '../devices/net/isolated.js';
import { parseMac } from '../devices/net/mac-address.js';
import type { PasstBackEnd, PasstOwner } from '../devices/net/passt.js';
import type { NetworkFolders } from '../devices/net/peers.js';
import type { OutsideSockets } from '../devices/net/relay/outside-sockets.js';
import type { Listener } from '../devices/net/relay/relay.js';
import { RelayedBackEnd } from '../devices/net/relayed.js';
import { TapBackEnd } from '../devices/net/tap.js';
import type { EventLoop } from '../host/event-loop.js';
import { MachineError, type NetworkSpec, type Refusal } from '../machine.js';

/** What the owner of the machine opened and started for its network, and the network's events. */
export interface NetworkContext {
  loop: EventLoop;
  /** From openRouteSocket. The device owns it. */
  routeSocket: () => number;
  /** The descriptor of the back end: of a tap interface, or a socket to passt. The device owns it. */
  backEnd: () => number;
  /** Listening sockets of the published TCP ports. The device owns them. */
  listeners: () => Listener[];
  /** Connects for the guest. */
  sockets: OutsideSockets;
  passt: PasstOwner;
  folders: NetworkFolders;
  // Callbacks run inside the event loop.
  onNetworkUp(): void;
  onNetworkDown(error: MachineError): void;
  onRefusal(refusal: Refusal): void;
}

export interface CreatedNet {
  net: VirtioNet;
  /** Undefined for other back ends. */
  passt: PasstBackEnd | undefined;
}

/**
 * @throws MachineError `no-network` if the guest cannot join its private networks; `bad-spec` for a
 * malformed address
 */
export function createNet(spec: NetworkSpec, context: NetworkContext): CreatedNet {
  try {
    const backEnd = createBackEnd(spec, context);
    const { loop, folders } = context;
    const routeSocket = context.routeSocket();
    const onRefusal = (refusal: Refusal) => context.onRefusal(refusal);
    const net = new VirtioNet({ spec, backEnd, loop, routeSocket, folders, onRefusal });
    return { net, passt: backEnd instanceof RelayedBackEnd ? backEnd.passt : undefined };
  } catch (error) {
    if (error instanceof RangeError) throw new MachineError('bad-spec', error.message, { cause: error });
    throw error;
  }
}

function createBackEnd(spec: NetworkSpec, context: NetworkContext): NetBackEnd {
  const { backEnd } = spec;
  if (backEnd.kind === 'passt') {
    return new RelayedBackEnd(spec, {
      listeners: context.listeners(),
      passt: context.backEnd(),
      sockets: context.sockets,
      loop: context.loop,
      owner: context.passt,
      onUp: () => context.onNetworkUp(),
      onDown: (error) => context.onNetworkDown(error),
    });
  }
  const other =
    backEnd.kind === 'tap'
      ? new TapBackEnd(context.backEnd(), context.loop)
      : new IsolatedBackEnd(parseMac(spec.gatewayMac));
  context.onNetworkUp();
  return other;
}
