// Names of containers: $TSVM_HOME/containers/names/<name> is a symbolic link to an id. A link is made or not made at
// all, so that of many who want a name one gets it. Changes are made under the lock of the containers, so that a name
// whose owner is gone can be taken.
import { readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { SandboxError } from '../errors.js';
import { ContainerFolder } from './container-folder.js';

/** The folder of the links, in the folder of all containers. */
export const NAMES = 'names';
/** Docker's. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
/** What a file name may have. */
const MAX_NAME = 255;

/** @throws SandboxError `bad-spec` */
export function checkName(name: string): void {
  if (isName(name)) return;
  throw new SandboxError(
    'bad-spec',
    `invalid container name '${name.slice(0, MAX_NAME)}': letters, digits, '_', '.' and '-' are possible, two at least`,
  );
}

function isName(name: string): boolean {
  return NAME.test(name) && name.length <= MAX_NAME;
}

/** The names of all containers of one home. */
export class ContainerNames {
  readonly #containers: string;
  readonly #path: string;

  /** @param containers path of the folder of all containers */
  constructor(containers: string) {
    this.#containers = containers;
    this.#path = join(containers, NAMES);
  }

  /** Name by id. */
  all(): Map<string, string> {
    const names = new Map<string, string>();
    let found: string[];
    try {
      found = readdirSync(this.#path);
    } catch {
      return names;
    }
    for (const name of found) {
      const id = this.#target(name);
      if (id !== undefined) names.set(id, name);
    }
    return names;
  }

  /** The name of the container `id`; nothing if it has none. */
  of(id: string): string | undefined {
    return this.all().get(id);
  }

  /** The id of the container that has a name; nothing if it is free. */
  ownerOf(name: string): string | undefined {
    if (!isName(name)) return undefined;
    const id = this.#target(name);
    return id !== undefined && new ContainerFolder(this.#containers, id).config() !== undefined ? id : undefined;
  }

  /**
   * Takes a name for a container. Under the lock.
   * @throws SandboxError `conflict` when another one has it
   */
  claim(name: string, id: string): void {
    const owner = this.ownerOf(name);
    if (owner !== undefined && owner !== id) {
      throw new SandboxError(
        'conflict',
        `the name '${name}' is in use by container ${owner.slice(0, 12)}: remove or rename it`,
      );
    }
    const path = join(this.#path, name);
    rmSync(path, { force: true });
    symlinkSync(id, path);
  }

  /** Gives the container `id` another name. Under the lock. @throws SandboxError `conflict`, `bad-spec` */
  rename(id: string, name: string): void {
    checkName(name);
    const old = this.of(id);
    if (old === name) throw new SandboxError('bad-spec', `the container is named '${name}' already`);
    this.claim(name, id);
    if (old !== undefined) this.#remove(old);
  }

  /** Frees the name of the container `id`. Under the lock. */
  release(id: string): void {
    const name = this.of(id);
    if (name !== undefined) this.#remove(name);
  }

  #target(name: string): string | undefined {
    try {
      return readlinkSync(join(this.#path, name));
    } catch {
      return undefined;
    }
  }

  #remove(name: string): void {
    rmSync(join(this.#path, name), { force: true });
  }
}
