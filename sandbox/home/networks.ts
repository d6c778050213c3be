// Private networks: $TSVM_HOME/networks/<name>.json says what there is of one. Its members meet in a folder beside the
// folders of sockets (vmm/devices/net/peers.ts). Which networks a container is in is its specification's word until
// somebody connects or disconnects it.
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerNetwork } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { isNetworkName } from '../run/network.js';
import { type ContainerFolder, containerFolders } from './container-folder.js';
import { nameOf, withContainersLock } from './names.js';
import type { ContainerConfig } from './record.js';
import { isLeftBehind } from './record.js';
import { NETWORKS, runtimeFolder } from './state-folder.js';

export interface Network {
  name: string;
  /** 64 hexadecimal digits. */
  id: string;
  /** RFC 3339. */
  createdAt: string;
  /** Its members reach each other alone. */
  internal: boolean;
  labels: Record<string, string>;
}

/** The networks that a container is in. */
export interface ContainerNetworks {
  peers: PeerNetwork[];
  /** There is one, and none leads out. */
  internal: boolean;
}

const ENDING = '.json';
/** Of a network, or its beginning. */
const ID = /^[0-9a-f]{1,64}$/;

function folderOf(home: string): string {
  return join(home, 'networks');
}

function pathOf(home: string, name: string): string {
  return join(folderOf(home), `${name}${ENDING}`);
}

/** @throws SandboxError `bad-spec` for what is no name, `conflict` for one that is taken, `state` */
export function createNetwork(
  home: string,
  name: string,
  about: Partial<Pick<Network, 'internal' | 'labels'>>,
): Network {
  if (!isNetworkName(name)) {
    throw new SandboxError('bad-spec', `invalid network name '${name}': two or more letters, digits, '_', '.' and '-'`);
  }
  const network: Network = {
    name,
    id: randomBytes(32).toString('hex'),
    createdAt: new Date().toISOString(),
    internal: about.internal ?? false,
    labels: about.labels ?? {},
  };
  const unfinished = join(folderOf(home), `.${network.id}`);
  try {
    mkdirSync(folderOf(home), { recursive: true, mode: 0o700 });
    writeFileSync(unfinished, JSON.stringify(network), { mode: 0o600 });
    // Fails when somebody has the name.
    linkSync(unfinished, pathOf(home, name));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') {
      throw new SandboxError('conflict', `network with name ${name} already exists`);
    }
    throw new SandboxError('state', `cannot make the network ${name}: ${(cause as Error).message}`, { cause });
  } finally {
    rmSync(unfinished, { force: true });
  }
  return network;
}

/**
 * Finds a network by its name, its ID or the beginning of that.
 * @throws SandboxError `no-such-network`, `ambiguous`, `state`
 */
export function findNetwork(home: string, reference: string): Network {
  const named = isNetworkName(reference) ? readNetwork(home, reference) : undefined;
  if (named !== undefined) return named;
  const found = ID.test(reference) ? listNetworks(home).filter(({ id }) => id.startsWith(reference)) : [];
  if (found.length > 1) throw new SandboxError('ambiguous', `network ${reference} is ambiguous`);
  return found[0] ?? notFound(reference);
}

function notFound(reference: string): never {
  throw new SandboxError('no-such-network', `network ${reference} not found`);
}

/** Nothing when there is none of the name. @throws SandboxError `state` */
function readNetwork(home: string, name: string): Network | undefined {
  try {
    return JSON.parse(readFileSync(pathOf(home, name), 'utf8'));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new SandboxError('state', `cannot read the network ${name}: ${(cause as Error).message}`, { cause });
  }
}

/** All networks, by name. */
export function listNetworks(home: string): Network[] {
  let entries: string[];
  try {
    entries = readdirSync(folderOf(home));
  } catch {
    return [];
  }
  return entries
    .filter((entry) => entry.endsWith(ENDING))
    .sort()
    .flatMap((entry) => readNetwork(home, entry.slice(0, -ENDING.length)) ?? []);
}

/** The containers, running or not, that are in a network. */
export function networkMembers(home: string, name: string): ContainerFolder[] {
  return containerFolders(home).filter((folder) => {
    const config = folder.config();
    if (config === undefined || isLeftBehind(config, folder.state())) return false;
    return networksOf(folder, config).includes(name);
  });
}

/** @throws SandboxError `no-such-network`, `conflict` while a container runs in it */
export async function removeNetwork(home: string, reference: string): Promise<void> {
  const network = findNetwork(home, reference);
  const { name } = network;
  await withContainersLock(home, () => {
    const users = networkMembers(home, name).filter((folder) => folder.isSupervised());
    if (users.length > 0) {
      const names = users.map(({ id, shortId }) => nameOf(home, id) ?? shortId).join(', ');
      throw new SandboxError('conflict', `network ${name} has active endpoints: ${names}`);
    }
    rmSync(pathOf(home, name), { force: true });
  });
  rmSync(meetingPlace(network), { recursive: true, force: true });
}

/** The private networks that a container is in by name, with the names that it has in each beside its own. */
export type Memberships = Readonly<Record<string, readonly string[]>>;

export function membershipsOf(folder: ContainerFolder, { spec }: ContainerConfig): Memberships {
  try {
    return JSON.parse(readFileSync(folder.networks, 'utf8'));
  } catch {
    const { mode, aliases = [] } = spec.network ?? {};
    return mode !== undefined && isNetworkName(mode) ? { [mode]: aliases } : {};
  }
}

/** The names of the networks that a container is in. */
export function networksOf(folder: ContainerFolder, config: ContainerConfig): string[] {
  return Object.keys(membershipsOf(folder, config));
}

/** Writes down that a container is in these networks from now on. */
export function setMemberships(folder: ContainerFolder, memberships: Memberships): void {
  writeFileSync(`${folder.networks}.new`, JSON.stringify(memberships), { mode: 0o600 });
  renameSync(`${folder.networks}.new`, folder.networks);
}

/**
 * The networks that a container is in, as its machine is told of them.
 * @throws SandboxError `no-such-network`
 */
export function containerNetworks(folder: ContainerFolder, config: ContainerConfig): ContainerNetworks {
  const networks = Object.entries(membershipsOf(folder, config)).map(([name, aliases]) => ({
    network: readNetwork(folder.home, name) ?? notFound(name),
    aliases,
  }));
  return {
    peers: networks.map(({ network, aliases }) => peerNetwork(network, folder, config, aliases)),
    internal: networks.length > 0 && networks.every(({ network }) => network.internal),
  };
}

/** A network as a member's machine is told of it. */
export function peerNetwork(
  network: Network,
  folder: ContainerFolder,
  { hostname }: ContainerConfig,
  aliases: readonly string[],
): PeerNetwork {
  const names = [nameOf(folder.home, folder.id), folder.shortId, hostname, ...aliases];
  const path = meetingPlace(network);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return { name: network.name, folder: path, names: [...new Set(names.filter((name) => name !== undefined))] };
}

/** Where the members' sockets are. Sockets have short paths. */
export function meetingPlace({ id }: Network): string {
  return join(runtimeFolder(), NETWORKS, id.slice(0, 12));
}
