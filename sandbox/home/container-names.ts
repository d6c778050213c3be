// Names of containers: `$TSVM_HOME/containers/names/NAME` is a symbolic link to an ID. Making a
// link is atomic, so one of several processes gets a name. Changes are made under the lock of the
// containers, so the name of a removed container can be reused.
import { readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { SandboxError } from '../errors.js';
import { ContainerFolder } from './container-folder.js';

/** Name of the folder of links, in the folder of all containers. */
export const NAMES = 'names';
/** Docker's rule. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
/** The limit of a file name. */
const MAX_NAME = 255;

/** @throws SandboxError `bad-spec` */
export function checkName(name: string): void {
  if (isName(name)) return;
  throw new SandboxError(
    'bad-spec',
    `invalid container name '${name.slice(0, MAX_NAME)}': use two or more letters, digits, '_', '.' and '-', a letter or digit first`,
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

  /** All names, by container ID. */
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

  /** The name of the container `id`; undefined if it has none. */
  of(id: string): string | undefined {
    return this.all().get(id);
  }

  /** The ID of the container that has a name; undefined if the name is free. */
  ownerOf(name: string): string | undefined {
    const id = this.idOf(name);
    return id !== undefined && new ContainerFolder(this.#containers, id).config() !== undefined ? id : undefined;
  }

  /** The ID that a name stands for. The container may be gone or damaged, and the name is free then. */
  idOf(name: string): string | undefined {
    return isName(name) ? this.#target(name) : undefined;
  }

  /**
   * Gives a name to a container. Call it under the lock.
   * @throws SandboxError `conflict` if another container has it
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

  /**
   * Renames the container `id`. Call it under the lock.
   * @throws SandboxError `conflict`, `bad-spec`
   */
  rename(id: string, name: string): void {
    checkName(name);
    const old = this.of(id);
    if (old === name) throw new SandboxError('bad-spec', `the container is named '${name}' already`);
    this.claim(name, id);
    if (old !== undefined) this.#remove(old);
  }

  /** Frees the name of the container `id`. Call it under the lock. */
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
