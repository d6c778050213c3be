// The network of a container: the interfaces that the engine made in its network namespace.
import type { InterfaceSpec } from '../../sandbox/agent/protocol.js';
import type { NetworkSpec } from '../../vmm/machine.js';
import { type Interface, type Route, readInterfaces } from '../../vmm/outside/interfaces.js';
import { inNetworkNamespace, isHostNetwork } from '../../vmm/outside/network-namespace.js';
import { NAMESPACE_TAKEN, wireTap } from '../../vmm/outside/wire.js';
import { NO_HOST_NETWORK, OciError } from '../config/oci-error.js';

/** A machine has no room for more: the emulator has eight devices in all. */
const MAX_INTERFACES = 4;
/** Bytes of a message of the agent's. */
const MAX_ROUTE = 512;

export interface ContainerNetwork {
  /** One for each interface, in their order. */
  machine: NetworkSpec[];
  guest: InterfaceSpec[];
}

/**
 * @param namespace path of the network namespace
 * @param isNew the stub made it
 * @returns undefined if there is no interface but that of the loopback
 * @throws OciError for a network that a machine cannot have; MachineError for the host's own
 */
export function readNetwork(namespace: string, isNew: boolean): ContainerNetwork | undefined {
  if (!isNew && isHostNetwork(namespace)) throw new OciError(NO_HOST_NETWORK);
  return planNetwork(namespace, inNetworkNamespace(namespace, readInterfaces, isNew));
}

/** @throws OciError for a network that a machine cannot have */
export function planNetwork(namespace: string, found: readonly Interface[]): ContainerNetwork | undefined {
  if (found.length === 0) return undefined;
  if (found.some(({ name }) => name === wireTap(0))) throw new OciError(NAMESPACE_TAKEN);
  if (found.length > MAX_INTERFACES) {
    throw new OciError(`a machine has ${MAX_INTERFACES} network interfaces at most, not ${found.length}`);
  }
  // The guest calls them eth0, eth1, and so on: so do engines.
  const inOrder = found.toSorted((one, other) => one.name.localeCompare(other.name, 'en', { numeric: true }));
  return {
    machine: inOrder.map(({ name, mac, mtu, addresses }, index) => ({
      ...{
        mac,
        gatewayMac: mac,
        mtu,
        addresses: addresses.map((address) => address.replace(/\/.*/, '')),
        gateways: [],
      },
      // What the container may reach, the engine says in its own network.
      ...{ resolvers: [], rules: [], peerRanges: [], maxConnections: 0, optional: false },
      backEnd: { kind: 'wire', namespace, interface: name, tap: wireTap(index) },
    })),
    guest: inOrder.map(({ addresses, routes }, index) => ({
      ...{ interface: `eth${index}`, addresses, routes: routes.map(routeMessage) },
    })),
  };
}

function routeMessage({ text, message }: Route): string {
  if (message === undefined) throw new OciError(`a route of several hops is not supported: ${text}`);
  if (message.length > MAX_ROUTE) throw new OciError(`a route is not supported: ${text}`);
  return message.toString('hex');
}
