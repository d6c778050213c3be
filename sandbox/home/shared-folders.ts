// The folders of the host that containers of a home may have written. A link in one of them is a
// guest's word, not the user's. The list outlives the containers: a guest's link does too.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { SandboxError } from '../errors.js';
import type { Mount } from '../spec/mounts.js';
import type { ContainerStore } from './container-store.js';

const LIST = 'shared-folders.json';
/** With more folders, those that are gone are forgotten: so are the links in them. */
const MANY = 1000;

export class SharedFolders {
  readonly #containers: ContainerStore;
  /** Path of the folder of all volumes, which guests write too. */
  readonly #volumes: string;

  constructor(containers: ContainerStore, volumes: string) {
    this.#containers = containers;
    this.#volumes = volumes;
  }

  /**
   * Adds the folders that a container may write. Call it under the lock of all containers.
   * @throws SandboxError `state`
   */
  add(mounts: readonly Mount[]): void {
    const known = new Set(this.#listed());
    const added = writable(mounts).filter((path) => !known.has(path));
    if (added.length === 0) return;
    const all = [...known, ...added];
    const path = join(this.#containers.path, LIST);
    try {
      writeFileSync(`${path}.new`, JSON.stringify(all.length > MANY ? all.filter(existsSync) : all), { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (cause) {
      throw new SandboxError('state', `cannot write ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /** Returns true if `folder`, a path without links, is one of them or lies in one. */
  cover(folder: string): boolean {
    const containers = this.#containers.list().flatMap(({ config }) => writable(config.spec.mounts ?? []));
    return [this.#volumes, ...this.#listed(), ...containers].some(
      (path) => path === '/' || folder === path || folder.startsWith(`${path}/`),
    );
  }

  #listed(): string[] {
    const path = join(this.#containers.path, LIST);
    try {
      return JSON.parse(readFileSync(path, 'utf8'));
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return [];
      throw new SandboxError('state', `cannot read ${path}: ${messageOf(cause)}`, { cause });
    }
  }
}

function writable(mounts: readonly Mount[]): string[] {
  return mounts.flatMap((mount) =>
    mount.type === 'bind' && !mount.readOnly && mount.file?.type !== 'file' ? [mount.file?.path ?? mount.source] : [],
  );
}
