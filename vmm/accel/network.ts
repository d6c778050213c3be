// The network device of a machine and its back end.

import { parseMac } from '../devices/net/address.js';
import type { NetBackEnd } from '../devices/net/back-end.js';
import { VirtioNet } from '../devices/net/device.js';
import { IsolatedBackEnd } from '../devices/net/isolated.js';
import { PasstBackEnd } from '../devices/net/passt.js';
import { TapBackEnd } from '../devices/net/tap.js';
import type { EventLoop } from '../host/event-loop.js';
import { MachineError, type NetworkSpec, type PublishedPorts, type Refusal } from '../machine.js';

/** Who hears of the network. Callbacks come from within the event loop. */
export interface NetworkHost {
  loop: EventLoop;
  /** @param ports of the host's that lead to the guest, each with its address */
  onNetworkUp(ports: PublishedPorts[]): void;
  onNetworkDown(error: MachineError): void;
  onRefusal(refusal: Refusal): void;
}

/**
 * Undefined where the network is optional and cannot be had.
 * @throws MachineError `no-network` when it cannot be had, `bad-spec` for an address that is none.
 */
export function createNet(spec: NetworkSpec, host: NetworkHost): VirtioNet | undefined {
  try {
    const backEnd = createBackEnd(spec, host);
    return new VirtioNet({ spec, backEnd, loop: host.loop, onRefusal: (refusal) => host.onRefusal(refusal) });
  } catch (error) {
    if (error instanceof MachineError && spec.optional) {
      host.onNetworkDown(error);
      return undefined;
    }
    if (error instanceof RangeError) throw new MachineError('bad-spec', error.message, { cause: error });
    throw error;
  }
}

function createBackEnd(spec: NetworkSpec, host: NetworkHost): NetBackEnd {
  const { backEnd } = spec;
  if (backEnd.kind === 'passt') {
    return new PasstBackEnd(spec, backEnd, {
      loop: host.loop,
      onUp: (ports) => host.onNetworkUp(ports),
      onDown: (error) => host.onNetworkDown(error),
    });
  }
  const other =
    backEnd.kind === 'tap' ? new TapBackEnd(backEnd, host.loop) : new IsolatedBackEnd(parseMac(spec.gatewayMac));
  host.onNetworkUp([]);
  return other;
}
