// The folders of the host that containers of a home may have written. A link in one of them is a
// guest's word, not the user's. The list outlives the containers: a guest's link does too.
import { closeSync, constants, fstatSync, readFileSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { O_PATH, openat2, RESOLVE_NO_MAGICLINKS } from '../../libc/openat2.js';
import { SandboxError } from '../errors.js';
import type { Mount, SourceFile } from '../spec/mounts.js';
import type { ContainerStore } from './container-store.js';
import { writeRecord } from './records.js';

const LIST = 'shared-folders.json';

/** A folder, known by its identity after the user renamed it. */
type SharedFolder = Pick<SourceFile, 'path' | 'device' | 'inode' | 'birth'>;

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
   * @throws SandboxError `state`, `damaged`
   */
  add(mounts: readonly Mount[]): void {
    const listed = this.#listed();
    const known = new Set(listed.map(keyOf));
    const added = writable(mounts).filter((folder) => !known.has(keyOf(folder)));
    if (added.length === 0) return;
    const path = join(this.#containers.path, LIST);
    try {
      // A folder that is gone may be back later, under this path or another. So none is forgotten.
      writeRecord(path, [...listed, ...added]);
    } catch (cause) {
      throw new SandboxError('state', `cannot write ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Returns true if an open folder is one of them or lies in one.
   * @param fd opened with O_PATH
   * @param path its path without links
   */
  cover(fd: number, path: string): boolean {
    const containers = this.#containers.list().flatMap(({ config }) => writable(config.spec.mounts ?? []));
    const folders = [...this.#listed(), ...containers];
    const paths = [this.#volumes, ...folders.map((folder) => (typeof folder === 'string' ? folder : folder.path))];
    if (paths.some((known) => known === '/' || path === known || path.startsWith(`${known}/`))) return true;
    const identities = new Set(folders.flatMap((folder) => (typeof folder === 'string' ? [] : [identityOf(folder)])));
    return someAbove(fd, ({ dev: device, ino: inode, birthtimeMs: birth }) =>
      identities.has(identityOf({ device, inode, birth })),
    );
  }

  /** A record of an older version is a path. */
  #listed(): (SharedFolder | string)[] {
    const path = join(this.#containers.path, LIST);
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return [];
      throw new SandboxError('state', `cannot read ${path}: ${messageOf(cause)}`, { cause });
    }
    const list = parseList(text);
    if (list !== undefined) return list;
    // A list that begins anew would let links of containers that are gone be followed.
    const hint = 'remove it, if containers that are gone left no links in folders that you mount';
    throw new SandboxError('damaged', `${path}, the list of folders that containers could write, is damaged: ${hint}`);
  }
}

/** Undefined if only a part of it was written. */
function parseList(text: string): (SharedFolder | string)[] | undefined {
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) ? list : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The identity of a folder. Its device is left out where it has a birth time: a disk may have
 * another number after the host was restarted, and no other folder has the same inode and birth
 * time. A folder without a birth time is then known by its path alone.
 */
function identityOf({ device, inode, birth }: Omit<SharedFolder, 'path'>): string {
  return birth === 0 ? `${inode} on ${device}` : `${inode} of ${birth}`;
}

function keyOf(folder: SharedFolder | string): string {
  return typeof folder === 'string' ? folder : `${identityOf(folder)} ${folder.path}`;
}

function writable(mounts: readonly Mount[]): (SharedFolder | string)[] {
  return mounts.flatMap((mount): (SharedFolder | string)[] => {
    if (mount.type !== 'bind' || mount.readOnly || mount.file?.type === 'file') return [];
    // The record of an older version has no file.
    if (mount.file === undefined) return [mount.source];
    const { path, device, inode, birth } = mount.file;
    return [{ path, device, inode, birth }];
  });
}

/** Returns true if `test` holds for an open folder or one above it. */
function someAbove(fd: number, test: (status: Stats) => boolean): boolean {
  let at = open(fd, '.');
  try {
    for (let status = fstatSync(at); ; ) {
      if (test(status)) return true;
      const above = open(at, '..');
      closeSync(at);
      at = above;
      const next = fstatSync(at);
      if (next.dev === status.dev && next.ino === status.ino) return false;
      status = next;
    }
  } finally {
    closeSync(at);
  }
}

function open(fd: number, name: '.' | '..'): number {
  return openat2(fd, name, O_PATH | constants.O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
}
