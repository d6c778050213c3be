// The network of a container: the interface that the engine made in its network namespace.
import type { InterfaceSpec } from '../../sandbox/agent/protocol.js';
import type { NetworkSpec } from '../../vmm/machine.js';
import { type Interface, readInterfaces } from '../../vmm/outside/interfaces.js';
import { inNetworkNamespace, isHostNetwork } from '../../vmm/outside/network-namespace.js';
import { NAMESPACE_TAKEN, WIRE_TAP } from '../../vmm/outside/wire.js';
import { NO_HOST_NETWORK, OciError } from '../config/oci-error.js';

/** The guest's name of it, whatever the engine's. */
const GUEST_INTERFACE = 'eth0';

export interface ContainerNetwork {
  machine: NetworkSpec;
  guest: InterfaceSpec;
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
  const [first] = found;
  if (first === undefined) return undefined;
  if (found.some(({ name }) => name === WIRE_TAP)) throw new OciError(NAMESPACE_TAKEN);
  if (found.length > 1) {
    const names = found.map(({ name }) => name).sort();
    throw new OciError(`several networks are not supported yet: ${names.join(', ')}`);
  }
  const { name, mac, mtu, addresses, gateways, routes } = first;
  const other = routes.find((route) => !gateways.some((gateway) => isWayTo(gateway, route)));
  if (other !== undefined) throw new OciError(`a route of the network is not supported yet: ${other}`);
  if (addresses.filter((address) => !address.includes(':')).length > 1) {
    throw new OciError(`several IPv4 addresses of a network are not supported yet: ${addresses.join(', ')}`);
  }
  return {
    machine: {
      ...{ mac, gatewayMac: mac, mtu, addresses: addresses.map((address) => address.replace(/\/.*/, '')), gateways },
      // What the container may reach, the engine says in its own network.
      ...{ resolvers: [], rules: [], peerRanges: [], maxConnections: 0, optional: false },
      backEnd: { kind: 'wire', namespace, interface: name },
    },
    guest: { interface: GUEST_INTERFACE, addresses, gateways },
  };
}

/** The guest has such a route to each gateway. */
function isWayTo(gateway: string, route: string): boolean {
  return route === `${gateway}/${gateway.includes(':') ? 128 : 32}`;
}
