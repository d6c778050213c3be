// Creates the network device of a machine and its back end.

import type { NetBackEnd } from '../devices/net/back-end.js';
import { VirtioNet } from '../devices/net/device.js';
import { IsolatedBackEnd } from '../devices/net/isolated.js';
import { parseMac } from '../devices/net/mac-address.js';
import { RelayedBackEnd } from '../devices/net/relayed.js';
import { TapBackEnd } from '../devices/net/tap.js';
import type { EventLoop } from '../host/event-loop.js';
import { MachineError, type NetworkSpec, type PublishedPorts, type Refusal } from '../machine.js';

/** Receives events of the network. Callbacks run inside the event loop. */
export interface NetworkContext {
  loop: EventLoop;
  /** @param ports published host ports, each with its address */
  onNetworkUp(ports: PublishedPorts[]): void;
  onNetworkDown(error: MachineError): void;
  onRefusal(refusal: Refusal): void;
}

/**
 * Returns undefined if the network is optional and failed to come up. The failure is reported to
 * `context`, not thrown.
 * @throws MachineError `no-network` if the network does not come up; `bad-spec` for a malformed
 * address
 */
export function createNet(spec: NetworkSpec, context: NetworkContext): VirtioNet | undefined {
  try {
    const backEnd = createBackEnd(spec, context);
    return new VirtioNet({ spec, backEnd, loop: context.loop, onRefusal: (refusal) => context.onRefusal(refusal) });
  } catch (error) {
    if (error instanceof MachineError && spec.optional) {
      context.onNetworkDown(error);
      return undefined;
    }
    if (error instanceof RangeError) throw new MachineError('bad-spec', error.message, { cause: error });
    throw error;
  }
}

function createBackEnd(spec: NetworkSpec, context: NetworkContext): NetBackEnd {
  const { backEnd } = spec;
  if (backEnd.kind === 'passt') {
    return new RelayedBackEnd(spec, backEnd, {
      loop: context.loop,
      onUp: (ports) => context.onNetworkUp(ports),
      onDown: (error) => context.onNetworkDown(error),
    });
  }
  const other =
    backEnd.kind === 'tap' ? new TapBackEnd(backEnd, context.loop) : new IsolatedBackEnd(parseMac(spec.gatewayMac));
  context.onNetworkUp([]);
  return other;
}
