// Private networks. `$TSVM_HOME/networks/NAME.json` describes one. Members meet in a folder of
// sockets beside the socket folders of containers (vmm/devices/net/peers.ts). The spec of a
// container names its networks until `connect` or `disconnect` changes them.
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import type { PeerNetwork } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { isNetworkName } from '../spec/network.js';
import type { ContainerFolder } from './container-folder.js';
import type { ContainerConfig } from './container-record.js';
import type { ContainerStore } from './container-store.js';
import { readRecord, syncFolder, writeRecord, writeSynced } from './records.js';
import { NETWORKS, openRuntimeFolder } from './socket-folder.js';

export interface Network {
  name: string;
  /** 64 hexadecimal digits. */
  id: string;
  /** RFC 3339. */
  createdAt: string;
  /** Members reach each other, and nothing else. */
  internal: boolean;
  labels: Record<string, string>;
}

/** The networks that a container is in. */
export interface ContainerNetworks {
  peers: PeerNetwork[];
  /** True if there is at least one network and all are internal. */
  internal: boolean;
}

const ENDING = '.json';
/** A record of which only a part was written. */
const DAMAGED = Symbol('damaged');
/** A network ID or the beginning of one. */
const ID = /^[0-9a-f]{1,64}$/;

/** The private networks of a container by name, each with the aliases of the container in it. */
export type Memberships = Readonly<Record<string, readonly string[]>>;

/** @throws SandboxError `damaged` */
export function membershipsOf(folder: ContainerFolder, config: ContainerConfig): Memberships {
  const memberships = knownMemberships(folder, config);
  if (memberships !== undefined) return memberships;
  // Each guess could connect it with what it was disconnected from.
  const why = `the list of networks of container ${folder.shortId} is damaged`;
  throw new SandboxError('damaged', `${why}: remove ${folder.networks} to give it those that it was made with`);
}

/** As `membershipsOf`, for a display. Empty if the list is damaged. */
export function shownMemberships(folder: ContainerFolder, config: ContainerConfig): Memberships {
  return knownMemberships(folder, config) ?? {};
}

/** The names of the networks that a container is in, as far as they are known. */
export function networksOf(folder: ContainerFolder, config: ContainerConfig): string[] {
  return Object.keys(shownMemberships(folder, config));
}

/** Undefined if the list is damaged. */
function knownMemberships({ networks }: ContainerFolder, { spec }: ContainerConfig): Memberships | undefined {
  try {
    return readRecord<Memberships>(networks);
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT'))
      throw new SandboxError('state', `cannot read ${networks}: ${messageOf(cause)}`, { cause });
    const { mode, aliases = [] } = spec.network ?? {};
    return mode !== undefined && isNetworkName(mode) ? { [mode]: aliases } : {};
  }
}

/**
 * Records the networks of a container, in place of those in its spec.
 * @throws SandboxError `state`
 */
export function setMemberships({ networks }: ContainerFolder, memberships: Memberships): void {
  try {
    writeRecord(networks, memberships);
  } catch (cause) {
    throw new SandboxError('state', `cannot write ${networks}: ${messageOf(cause)}`, { cause });
  }
}

/** The private networks of one home. */
export class NetworkStore {
  readonly #path: string;
  readonly #runtime: string;
  readonly #containers: ContainerStore;

  /**
   * @param home path of the state folder
   * @param runtime path of the folder for sockets
   * @internal
   */
  constructor(home: string, runtime: string, containers: ContainerStore) {
    this.#runtime = runtime;
    this.#containers = containers;
    this.#path = join(home, 'networks');
  }

  /**
   * Makes a network.
   * @throws SandboxError `bad-spec` for an invalid name, `conflict` for one in use, `state`
   */
  create(name: string, about: { internal?: boolean | undefined; labels?: Record<string, string> } = {}): Network {
    if (!isNetworkName(name)) {
      throw new SandboxError(
        'bad-spec',
        `invalid network name '${name}': two or more letters, digits, '_', '.' and '-'`,
      );
    }
    const network: Network = {
      name,
      id: randomBytes(32).toString('hex'),
      createdAt: new Date().toISOString(),
      internal: about.internal ?? false,
      labels: about.labels ?? {},
    };
    const unfinished = join(this.#path, `.${network.id}`);
    try {
      mkdirSync(this.#path, { recursive: true, mode: 0o700 });
      writeSynced(unfinished, JSON.stringify(network));
      // Fails if the name is in use.
      linkSync(unfinished, this.#pathOf(name));
      syncFolder(this.#path);
    } catch (cause) {
      if (hasCode(cause, 'EEXIST')) {
        throw new SandboxError('conflict', `network with name ${name} already exists`);
      }
      throw new SandboxError('state', `cannot make the network ${name}: ${messageOf(cause)}`, { cause });
    } finally {
      rmSync(unfinished, { force: true });
    }
    return network;
  }

  /**
   * Finds a network by its name, its ID or the beginning of its ID.
   * @throws SandboxError `no-such-network`, `ambiguous`, `damaged`, `state`
   */
  find(reference: string): Network {
    const named = isNetworkName(reference) ? this.#read(reference) : undefined;
    if (named !== undefined) return named;
    const found = ID.test(reference) ? this.list().filter(({ id }) => id.startsWith(reference)) : [];
    if (found.length > 1) throw new SandboxError('ambiguous', `network ${reference} is ambiguous`);
    return found[0] ?? notFound(reference);
  }

  /** All networks except damaged ones, sorted by name. @throws SandboxError `state` */
  list(): Network[] {
    return this.#names().flatMap((name) => {
      const network = this.#record(name);
      return network === undefined || network === DAMAGED ? [] : [network];
    });
  }

  /**
   * Names of the networks whose record is lost: an older version wrote it, and the host went down.
   * `remove` removes them.
   * @throws SandboxError `state`
   */
  damaged(): string[] {
    return this.#names().filter((name) => this.#record(name) === DAMAGED);
  }

  /** IDs of the containers in a network, running or not. */
  members(name: string): string[] {
    return this.#members(name).map(({ id }) => id);
  }

  /**
   * Removes a network.
   * @throws SandboxError `no-such-network`, `conflict` while a container runs in it
   */
  async remove(reference: string): Promise<void> {
    const isDamaged = isNetworkName(reference) && this.#record(reference) === DAMAGED;
    const network = isDamaged ? undefined : this.find(reference);
    const name = network?.name ?? reference;
    await this.#containers.withLock(() => {
      const users = this.#members(name).filter((folder) => folder.isSupervised());
      if (users.length > 0) {
        const names = users.map(({ id, shortId }) => this.#containers.names.of(id) ?? shortId).join(', ');
        throw new SandboxError('conflict', `network ${name} has active endpoints: ${names}`);
      }
      rmSync(this.#pathOf(name), { force: true });
    });
    if (network !== undefined) rmSync(this.meetingFolder(network), { recursive: true, force: true });
  }

  /**
   * The networks of a container, in the form that its machine takes.
   * @throws SandboxError `no-such-network`
   * @internal
   */
  ofContainer(folder: ContainerFolder, config: ContainerConfig): ContainerNetworks {
    const networks = Object.entries(membershipsOf(folder, config)).map(([name, aliases]) => ({
      network: this.#read(name) ?? notFound(name),
      aliases,
    }));
    return {
      peers: networks.map(({ network, aliases }) => this.peerOf(network, folder, config, aliases)),
      internal: networks.length > 0 && networks.every(({ network }) => network.internal),
    };
  }

  /**
   * A network in the form that the machine of a member takes.
   * @internal
   */
  peerOf(
    network: Network,
    folder: ContainerFolder,
    { hostname }: ContainerConfig,
    aliases: readonly string[],
  ): PeerNetwork {
    const names = [this.#containers.names.of(folder.id), folder.shortId, hostname, ...aliases];
    const path = this.meetingFolder(network);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return { name: network.name, folder: path, names: [...new Set(names.filter((name) => name !== undefined))] };
  }

  /**
   * Path of the folder with the members' sockets. Sockets need short paths.
   * @internal
   */
  meetingFolder({ id }: Network): string {
    return join(openRuntimeFolder(this.#runtime), NETWORKS, id.slice(0, 12));
  }

  #members(name: string): ContainerFolder[] {
    return this.#containers
      .list()
      .filter(({ folder, config }) => networksOf(folder, config).includes(name))
      .map(({ folder }) => folder);
  }

  /** Undefined if there is no network of that name. @throws SandboxError `damaged`, `state` */
  #read(name: string): Network | undefined {
    const network = this.#record(name);
    if (network !== DAMAGED) return network;
    const hint = `remove it by 'tsvm network rm ${name}' and make it again`;
    throw new SandboxError('damaged', `the record of the network ${name} is damaged: ${hint}`);
  }

  /** @throws SandboxError `state` */
  #record(name: string): Network | typeof DAMAGED | undefined {
    try {
      const network = readRecord<Network>(this.#pathOf(name));
      return network !== undefined && isNetwork(network, name) ? network : DAMAGED;
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return undefined;
      throw new SandboxError('state', `cannot read the network ${name}: ${messageOf(cause)}`, { cause });
    }
  }

  /** The names of all networks, sorted. */
  #names(): string[] {
    let entries: string[];
    try {
      entries = readdirSync(this.#path);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return [];
      throw new SandboxError('state', `cannot list the networks: ${messageOf(cause)}`, { cause });
    }
    return entries
      .filter((entry) => entry.endsWith(ENDING))
      .map((entry) => entry.slice(0, -ENDING.length))
      .filter(isNetworkName)
      .sort();
  }

  #pathOf(name: string): string {
    return join(this.#path, `${name}${ENDING}`);
  }
}

function isNetwork(record: Partial<Network>, name: string): boolean {
  const { id = '', createdAt, internal, labels } = record;
  const isWhole = /^[0-9a-f]{64}$/.test(id) && typeof createdAt === 'string' && typeof internal === 'boolean';
  return isWhole && record.name === name && typeof labels === 'object' && labels !== null;
}

function notFound(reference: string): never {
  throw new SandboxError('no-such-network', `network ${reference} not found`);
}
