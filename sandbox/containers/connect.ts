// Connecting a container to a network, and disconnecting it: at once where it runs, and in any case for its next start.
import { SandboxError } from '../errors.js';
import { isNetworkName } from '../network.js';
import { findNetwork, meetingPlace, networksOf, peerNetwork, setNetworks } from '../networks.js';
import type { Container } from './container.js';
import { openRequest } from './control-client.js';
import type { ControlRequest } from './control-messages.js';

/** @throws SandboxError `no-such-network`, `conflict` when it is in it already, or cannot be in any */
export async function connectContainer(container: Container, name: string): Promise<void> {
  const { folder, config } = container;
  const network = findNetwork(folder.home, name);
  const { mode } = config.spec.network ?? {};
  if (mode !== undefined && mode !== 'passt' && !isNetworkName(mode)) {
    throw new SandboxError(
      'conflict',
      `container ${folder.shortId} has the network '${mode}', and cannot be in others`,
    );
  }
  const networks = networksOf(folder, config);
  if (networks.includes(name)) {
    throw new SandboxError('conflict', `container ${folder.shortId} is in network ${name} already`);
  }
  await tell(container, { type: 'join', network: peerNetwork(network, folder, config) });
  setNetworks(folder, [...networks, name]);
}

/** @throws SandboxError `no-such-network`, `conflict` when it is not in it */
export async function disconnectContainer(container: Container, name: string): Promise<void> {
  const { folder, config } = container;
  const network = findNetwork(folder.home, name);
  const networks = networksOf(folder, config);
  if (!networks.includes(name)) {
    throw new SandboxError('conflict', `container ${folder.shortId} is not in network ${name}`);
  }
  await tell(container, { type: 'leave', folder: meetingPlace(network) });
  setNetworks(
    folder,
    networks.filter((each) => each !== name),
  );
}

/** Tells the container's supervisor, if it has one. */
async function tell({ folder }: Container, request: ControlRequest): Promise<void> {
  try {
    using client = await openRequest(folder, request);
    await client.next();
  } catch (error) {
    if ((error as SandboxError).code !== 'not-running') throw error;
  }
}
