// The containers of one home. `$TSVM_HOME/containers` has a folder for each, their names, and the
// lock for making, naming and renaming them.
import { accessSync, constants, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { SandboxError } from '../errors.js';
import { ContainerFolder, REMOVED } from './container-folder.js';
import { ContainerNames, NAMES } from './container-names.js';
import { type ContainerConfig, type ContainerState, isStale } from './container-record.js';
import { FileLock } from './lock.js';
import { CONTAINERS, openRuntimeFolder } from './socket-folder.js';

const LOCK = 'lock';
/** Milliseconds to wait for the lock, which is held while a few small files are written. */
const PATIENCE = 60_000;
const ID = /^[0-9a-f]{64}$/;

/** A container as its home keeps it. */
export interface StoredContainer {
  folder: ContainerFolder;
  config: ContainerConfig;
}

export class ContainerStore {
  readonly #home: string;
  readonly #runtime: string;
  #path: string | undefined;
  #names: ContainerNames | undefined;

  /**
   * @param home path of the state folder
   * @param runtime path of the folder for sockets
   */
  constructor(home: string, runtime: string) {
    this.#home = home;
    this.#runtime = runtime;
  }

  /**
   * Path of the folder of all containers. For a read-only home it is in the runtime folder.
   * @throws SandboxError `state`
   */
  get path(): string {
    this.#path ??= join(isReadOnly(this.#home) ? openRuntimeFolder(this.#runtime) : this.#home, CONTAINERS);
    return this.#path;
  }

  /** The names of containers. */
  get names(): ContainerNames {
    this.#names ??= new ContainerNames(this.path);
    return this.#names;
  }

  /** The folder of the container `id`, which need not exist. */
  folder(id: string): ContainerFolder {
    return new ContainerFolder(this.path, id);
  }

  /** The folders of all containers, in no order. @throws SandboxError `state` */
  folders(): ContainerFolder[] {
    return this.#entries()
      .filter((name) => ID.test(name))
      .map((id) => this.folder(id));
  }

  /** All containers except stale ones, in no order. @throws SandboxError `state` */
  list(): (StoredContainer & { state: ContainerState })[] {
    return this.folders().flatMap((folder) => {
      const config = folder.config();
      if (config === undefined) return [];
      const state = folder.state();
      return isStale(config, state) ? [] : [{ folder, config, state }];
    });
  }

  /**
   * Finds a container by its ID, its name, or the beginning of its ID, in this order, as Docker
   * does.
   * @throws SandboxError `no-such-container`, `ambiguous`, `damaged`
   */
  find(reference: string): StoredContainer {
    const folder = this.findFolder(reference);
    const config = folder.config();
    if (config !== undefined) return { folder, config };
    if (!folder.isDamaged()) throw noSuchContainer(reference);
    throw new SandboxError('damaged', `the record of container ${folder.shortId} is damaged: tsvm rm removes it`);
  }

  /**
   * As `find`, for a container that may be damaged.
   * @throws SandboxError `no-such-container`, `ambiguous`
   */
  findFolder(reference: string): ContainerFolder {
    for (const id of [reference, this.names.idOf(reference)]) {
      if (id !== undefined && ID.test(id) && existsSync(this.folder(id).path)) return this.folder(id);
    }
    const isPrefix = /^[0-9a-f]{1,64}$/.test(reference);
    const [match, other] = isPrefix ? this.folders().filter(({ id }) => id.startsWith(reference)) : [];
    if (other !== undefined) {
      throw new SandboxError('ambiguous', `several containers have IDs that begin with ${reference}`);
    }
    if (match === undefined) throw noSuchContainer(reference);
    return match;
  }

  /** The containers whose configuration is lost. @throws SandboxError `state` */
  damaged(): ContainerFolder[] {
    return this.folders().filter((folder) => folder.isDamaged());
  }

  /**
   * Runs `change` while no other process makes, names, renames or removes a container.
   * @throws SandboxError `state`
   */
  async withLock<T>(change: () => T | Promise<T>): Promise<T> {
    try {
      mkdirSync(join(this.path, NAMES), { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw new SandboxError('state', `cannot make ${this.path}: ${messageOf(cause)}`, { cause });
    }
    using _lock = await FileLock.wait(join(this.path, LOCK), PATIENCE);
    return await change();
  }

  /** Removes the folders that a killed process was making or removing. Call it under the lock. */
  sweep(): void {
    for (const name of this.#entries()) {
      if (name.endsWith(REMOVED)) rmSync(join(this.path, name), { recursive: true, force: true });
    }
  }

  #entries(): string[] {
    try {
      return readdirSync(this.path);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return [];
      throw new SandboxError('state', `cannot read ${this.path}: ${messageOf(cause)}`, { cause });
    }
  }
}

function noSuchContainer(reference: string): SandboxError {
  return new SandboxError('no-such-container', `no such container: ${reference.replace(/[^\x20-\x7e]+/g, '?')}`);
}

/** Returns true if the home at `path` exists and cannot be written. */
export function isReadOnly(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    // A home that does not exist yet will be made.
    return hasCode(error, 'EROFS', 'EACCES');
  }
}
