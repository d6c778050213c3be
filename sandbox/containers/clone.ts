// Creates a container that is a clone of one in a snapshot. Its first start continues the processes
// of the snapshot as its own; later starts are those of any container.
import { randomBytes } from 'node:crypto';
import { SandboxError } from '../errors.js';
import type { ContainerConfig } from '../home/container-record.js';
import { haveVolumes } from '../home/container-volumes.js';
import type { Home } from '../home/home.js';
import { roomForDisk } from '../home/home-size.js';
import { type Snapshot, SnapshotStore } from '../snapshots/snapshot-store.js';
import type { ContainerSpec } from '../spec/container-spec.js';
import type { NetworkOptions } from '../spec/network.js';
import { eachPort, formatPort, parsePublished } from '../spec/published-ports.js';
import { type Created, checkContainerSpec, publishContainer } from './create.js';

/** What a clone has of its own. All else is as in the snapshot. */
export interface CloneOptions extends Pick<ContainerSpec, 'name' | 'hostname' | 'labels' | 'autoRemove' | 'restart'> {
  /** Ports to publish, as in `NetworkOptions`. Default: none, whatever the snapshot's container had. */
  publish?: NetworkOptions['publish'];
  /** As in `CreateOptions`. @internal */
  isSupervised?: boolean;
}

/**
 * Creates the container, without starting it.
 * @throws SandboxError `bad-spec`, `conflict` if the name is taken, `snapshot` if it is damaged,
 *   `no-space`, `state`; ImageError
 */
export async function createClone(home: Home, snapshot: Snapshot, options: CloneOptions = {}): Promise<Created> {
  const { isSupervised = false, ...own } = options;
  const id = randomBytes(32).toString('hex');
  const folder = home.containers.folder(id);
  const config = cloneConfig(snapshot.config, id, folder.shortId, own);
  const { spec } = config;
  checkContainerSpec(spec);
  home.openRuntime();
  await checkDiskRoom(home, snapshot.diskUsage);
  await snapshot.verify();
  const image = await home.images.resolve(config.image);
  using unfinished = await new SnapshotStore(home).begin();
  const hasLayer = await snapshot.copyLayer(unfinished.layer);
  try {
    // What it was connected with, without the aliases of the original.
    const networks = Object.fromEntries(snapshot.networks.map((name) => [name, []]));
    const how = { isSupervised, layer: hasLayer ? unfinished.layer : undefined, networks };
    const published = await home.containers.withLock(async () =>
      haveVolumes(home, spec.mounts ?? []) ? await publishContainer(home, folder, config, how) : undefined,
    );
    if (published !== undefined) return { folder, config, image, ...published };
    throw new SandboxError('snapshot', 'a volume of the snapshot is gone');
  } catch (error) {
    await home.images.release(id);
    throw error;
  }
}

/** @throws SandboxError `no-space` if a disk of so many bytes has no room in the home */
export async function checkDiskRoom(home: Home, bytes: number): Promise<void> {
  if (bytes <= (await roomForDisk(home))) return;
  throw new SandboxError('no-space', `the home has no room for a disk of ${bytes} bytes (TSVM_HOME_SIZE)`);
}

function cloneConfig(
  source: ContainerConfig,
  id: string,
  shortId: string,
  { publish = [], ...own }: Omit<CloneOptions, 'isSupervised'>,
): ContainerConfig {
  const { name, hostname: _hostname, autoRemove, restart, network, ...rest } = source.spec;
  const hostname = own.hostname ?? shortId;
  const ports = eachPort(publish.map(parsePublished)).map(formatPort);
  return {
    ...source,
    id,
    created: new Date().toISOString(),
    spec: { ...rest, ...own, network: cloneNetwork(network, publish) },
    hostname,
    env: source.env.map((line) => (line === `HOSTNAME=${source.hostname}` ? `HOSTNAME=${hostname}` : line)),
    labels: { ...source.labels, ...own.labels },
    exposed: [...new Set([...(source.exposed ?? []), ...ports])],
  };
}

/** What only one machine can have, a clone has not. */
function cloneNetwork(
  { mac, aliases, publish: _publish, publishAll, ...rest }: NetworkOptions = {},
  publish: NonNullable<NetworkOptions['publish']>,
): NetworkOptions {
  return publish.length === 0 ? rest : { ...rest, publish };
}
