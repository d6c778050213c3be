// Connects a container to a network and disconnects it: at once if it runs, and for later starts.
import { hasCode } from '../../errors/index.js';
import { SandboxError } from '../errors.js';
import { membershipsOf, setMemberships } from '../home/networks.js';
import { checkAliases, isNetworkName, networkMode, OUTSIDE } from '../spec/network.js';
import { openRequest } from '../supervision/control-client.js';
import type { ControlRequest } from '../supervision/control-protocol.js';
import type { Supervised } from '../supervision/supervision.js';

/**
 * @param aliases further names of the container in this network
 * @throws SandboxError `bad-spec`, `no-such-network`, `conflict` if the container is in it
 *   already, or its network mode excludes private networks
 */
export async function connectContainer(
  container: Supervised,
  reference: string,
  aliases: readonly string[],
): Promise<void> {
  checkAliases(aliases);
  const { home, folder, config } = container;
  const { networks } = home;
  const network = networks.find(reference);
  const { name } = network;
  const mode = networkMode(config.spec.network);
  if (mode !== OUTSIDE && !isNetworkName(mode)) {
    throw new SandboxError(
      'conflict',
      `container ${nameFor(container)} has the network '${mode}', and cannot be connected to others`,
    );
  }
  const memberships = membershipsOf(folder, config);
  if (Object.hasOwn(memberships, name)) {
    throw new SandboxError('conflict', `endpoint with name ${nameFor(container)} already exists in network ${name}`);
  }
  await tell(container, { type: 'join', network: networks.peerOf(network, folder, config, aliases) });
  setMemberships(folder, { ...memberships, [name]: aliases });
}

/** @throws SandboxError `no-such-network`, `conflict` if the container is not in it */
export async function disconnectContainer(container: Supervised, reference: string): Promise<void> {
  const { home, folder, config } = container;
  const { networks } = home;
  const network = networks.find(reference);
  const { name } = network;
  const memberships = membershipsOf(folder, config);
  if (!Object.hasOwn(memberships, name)) {
    throw new SandboxError('conflict', `container ${nameFor(container)} is not connected to network ${name}`);
  }
  await tell(container, { type: 'leave', folder: networks.meetingFolder(network) });
  const { [name]: left, ...others } = memberships;
  setMemberships(folder, others);
}

function nameFor({ home, folder }: Supervised): string {
  return home.containers.names.of(folder.id) ?? folder.shortId;
}

/** Sends a request to the supervisor of the container, if it has one. */
async function tell({ folder }: Supervised, request: ControlRequest): Promise<void> {
  try {
    using client = await openRequest(folder, request);
    await client.next();
  } catch (error) {
    if (!hasCode(error, 'not-running')) throw error;
  }
}
