// Volumes: folders that outlive containers, in `$TSVM_HOME/volumes/NAME`. A volume is made under
// another name, filled, and renamed once it is complete, so a crash never leaves half a volume.
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { sizeSetting } from '../../images/index.js';
import { O_PATH, openat2, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS } from '../../libc/openat2.js';
import { measureTree, removeTree, TreeError } from '../../libc/trees.js';
import { SandboxError } from '../errors.js';
import {
  checkVolumeBounds,
  checkVolumeName,
  isBound,
  isVolumeName,
  type Mount,
  type VolumeBounds,
} from '../spec/mounts.js';
import type { ContainerStore } from './container-store.js';
import { readRecord, writeSynced } from './records.js';
import { type OpenCount, openCount, readCount, type VolumeUse, watchCount } from './volume-count.js';

const DATA = '_data';
const ABOUT = 'volume.json';
const COUNT = 'count';
/** Begins the name of a folder that is being made or removed. No volume name begins so. */
const UNFINISHED = '.';
/**
 * Milliseconds after which the process that made such a folder is taken for dead. If it is being
 * removed, two processes may remove it.
 */
const UNDER_WAY = 600_000;
/** The label that Docker gives to anonymous volumes. */
const ANONYMOUS = 'com.docker.volume.anonymous';
export const ANONYMOUS_LABELS: Readonly<Record<string, string>> = { [ANONYMOUS]: '' };

export interface Volume extends VolumeBounds {
  name: string;
  /** Path of the folder with its files. */
  mountpoint: string;
  /** ISO 8601. */
  createdAt: string;
  labels: Record<string, string>;
}

/**
 * Puts the initial contents of a new volume into an empty folder. Resolves to true if there were
 * any.
 */
export type VolumeContents = (folder: string) => Promise<boolean>;

/** The volumes of one home. */
export class VolumeStore {
  /** Path of the folder of all volumes. @internal */
  readonly path: string;
  readonly #containers: ContainerStore;

  /**
   * @param home path of the state folder
   * @internal
   */
  constructor(home: string, containers: ContainerStore) {
    this.#containers = containers;
    this.path = join(home, 'volumes');
  }

  /**
   * The volume of that name, or undefined.
   * @throws SandboxError `bad-spec` for an invalid name, `state`
   */
  find(name: string): Volume | undefined {
    checkVolumeName(name);
    const folder = join(this.path, name);
    const mountpoint = join(folder, DATA);
    try {
      const { createdAt = statSync(folder).mtime.toISOString(), labels = {}, ...bounds } = readAbout(folder) ?? {};
      return { name, mountpoint, createdAt, labels, ...bounds };
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return undefined;
      throw new SandboxError('state', `cannot read the volume ${name}: ${messageOf(cause)}`, { cause });
    }
  }

  /** All volumes, sorted by name. @throws SandboxError `state` */
  list(): Volume[] {
    // Other folders are not ours: `lost+found`, if a disk is mounted here.
    return this.#entries()
      .filter(isVolumeName)
      .sort()
      .flatMap((name) => this.find(name) ?? []);
  }

  /**
   * Returns the volume of that name, which is made if it is missing. `labels` are those of a new
   * one. A bound is not given to a volume that exists.
   * @throws SandboxError `bad-spec` for an invalid name or bound, `conflict` if it exists with other
   *   bounds, `state`
   */
  open(name: string, labels: Record<string, string> = {}, bounds: VolumeBounds = {}): Volume {
    checkVolumeBounds(bounds);
    const known = this.find(name);
    if (known !== undefined) return withBounds(known, bounds);
    const unfinished = this.#begin(name, labels, bounds);
    try {
      return withBounds(this.#finish(name, unfinished), bounds);
    } finally {
      // Nothing is in it that we did not make.
      rmSync(unfinished, { recursive: true, force: true });
    }
  }

  /**
   * Opens the folder with the files of a volume, which is made if it is missing, with O_PATH. No
   * link is followed.
   * @throws SandboxError `bad-spec` for an invalid name, `conflict` if it exists with other bounds,
   *   `state`
   * @internal
   */
  openFolder(name: string, bounds: VolumeBounds = {}): { fd: number; volume: Volume } {
    const volume = this.open(name, {}, bounds);
    return attempt('open', name, () => {
      const folder = openSync(this.path, O_PATH);
      try {
        return { fd: openat2(folder, `${name}/${DATA}`, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), volume };
      } finally {
        closeSync(folder);
      }
    });
  }

  /**
   * Opens the count of a volume with bounds. The volume is in use while it is open anywhere.
   * @throws SandboxError `state`
   * @internal
   */
  async openCount({ name, mountpoint }: Volume): Promise<OpenCount> {
    try {
      return await openCount(join(this.path, name, COUNT), mountpoint);
    } catch (cause) {
      throw failure('count', name, cause);
    }
  }

  /** Looks after the count of a volume until it is disposed of. @internal */
  watchCount({ name }: Volume): Disposable {
    return watchCount(join(this.path, name, COUNT));
  }

  /**
   * What a volume has: counted by the last machine that had it, if it has bounds, or measured.
   * @throws SandboxError `state`
   */
  async use({ name, mountpoint, size, inodes }: Volume): Promise<VolumeUse> {
    const isCounted = size !== undefined || inodes !== undefined;
    const counted = isCounted ? readCount(join(this.path, name, COUNT)) : undefined;
    if (counted !== undefined) return counted;
    const measured = await measureTree(mountpoint);
    return { bytes: measured.bytes, inodes: measured.inodes };
  }

  /** Makes a volume with a random name. @throws SandboxError `bad-spec`, `state` */
  openAnonymous(labels: Record<string, string> = {}, bounds: VolumeBounds = {}): Volume {
    return this.open(drawVolumeName(), { ...labels, ...ANONYMOUS_LABELS }, bounds);
  }

  /**
   * Makes the volume if it is missing, and puts `contents` into it if it is empty and no container
   * has it.
   * @throws SandboxError `bad-spec` for an invalid name, or contents that exceed its bounds, `conflict`
   *   if it exists with other bounds, `state`; what `contents` throws
   * @internal
   */
  async fill(
    name: string,
    { labels = {}, bounds = {} }: { labels?: Readonly<Record<string, string>>; bounds?: VolumeBounds | undefined },
    contents: VolumeContents,
  ): Promise<void> {
    const known = this.find(name);
    if (known !== undefined && !isEmpty(withBounds(known, bounds))) return;
    const unfinished = this.#begin(name, labels, bounds);
    try {
      const data = join(unfinished, DATA);
      const isFilled = await contents(data);
      if (isFilled) await checkFits({ ...(known ?? readAbout(unfinished)), name }, data);
      const volume = known ?? withBounds(this.#finish(name, unfinished), bounds);
      // If the folder is still there, it did not become the volume: another process made that.
      if (!isFilled || lstatSync(data, { throwIfNoEntry: false }) === undefined) return;
      await this.#containers.withLock(() => {
        // A container that has the volume may have its folder open.
        if (this.users(name).length === 0) replaceEmpty(volume, data);
      });
    } finally {
      await discard(unfinished);
    }
  }

  /** IDs of the containers that have the volume mounted, running or not. */
  users(name: string): string[] {
    return this.#containers
      .list()
      .filter(({ config }) => config.spec.mounts?.some(({ type, source }) => type === 'volume' && source === name))
      .map(({ folder }) => folder.id);
  }

  /**
   * Removes a volume with its files.
   * @throws SandboxError `no-such-volume`, `conflict` while a container has it, `state`
   */
  async remove(name: string): Promise<void> {
    if (this.find(name) === undefined) throw new SandboxError('no-such-volume', `no such volume: ${name}`);
    const doomed = join(this.path, `${UNFINISHED}${name}-${randomBytes(8).toString('hex')}`);
    // Under the lock, no container is made between check and removal.
    await this.#containers.withLock(() => {
      const users = this.users(name);
      if (users.length > 0) throw new SandboxError('conflict', `volume is in use: ${name}: [${users.join(', ')}]`);
      attempt('remove', name, () => renameSync(join(this.path, name), doomed));
    });
    try {
      await removeTree(doomed);
    } catch (cause) {
      throw failure('remove', name, cause, `what is left is in ${doomed}`);
    }
  }

  /**
   * Removes the anonymous volumes of a removed container, except those that another container has.
   * @internal
   */
  async removeAnonymous(mounts: readonly Mount[] = []): Promise<void> {
    let failure: unknown;
    for (const mount of mounts) {
      if (mount.type !== 'volume' || !mount.anonymous) continue;
      try {
        await this.remove(mount.source);
      } catch (error) {
        // The others are removed all the same.
        if (!hasCode(error, 'conflict', 'no-such-volume')) failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  /** Number and bytes on disk of the folders that are being made or removed, or could not be. */
  async unfinished(): Promise<{ total: number; size: number }> {
    const names = this.#entries().filter((name) => name.startsWith(UNFINISHED));
    let size = 0;
    for (const name of names) size += (await measureTree(join(this.path, name))).bytes;
    return { total: names.length, size };
  }

  /** Removes the unfinished folders of processes that were killed. */
  async sweep(): Promise<void> {
    for (const name of this.#entries()) {
      const path = join(this.path, name);
      const made = name.startsWith(UNFINISHED) ? lstatSync(path, { throwIfNoEntry: false })?.mtimeMs : undefined;
      if (made === undefined || Date.now() - made <= UNDER_WAY) continue;
      // Renamed first: a process that still works on it fails, rather than find a part of it.
      const doomed = join(this.path, `${UNFINISHED}${randomBytes(8).toString('hex')}`);
      try {
        renameSync(path, doomed);
      } catch {
        // Another process has removed or finished it.
        continue;
      }
      await discard(doomed);
    }
  }

  /**
   * Makes the folder that becomes a volume. It is closed to other users, because a guest may leave
   * set-user-ID programs in it.
   */
  #begin(name: string, labels: Readonly<Record<string, string>>, bounds: VolumeBounds = {}): string {
    const unfinished = join(this.path, `${UNFINISHED}${name}-${randomBytes(8).toString('hex')}`);
    const createdAt = new Date().toISOString();
    const size = bounds.size ?? sizeSetting('TSVM_VOLUME_SIZE');
    const given = size === undefined ? bounds : { ...bounds, size };
    return attempt('make', name, () => {
      mkdirSync(this.path, { recursive: true, mode: 0o700 });
      mkdirSync(unfinished, { mode: 0o700 });
      try {
        mkdirSync(join(unfinished, DATA));
        // The mode is that of Docker, whatever the umask.
        chmodSync(join(unfinished, DATA), 0o755);
        const about = JSON.stringify({ createdAt, labels, ...given });
        // A volume must not lose its bounds with the host's power.
        if (Object.keys(given).length > 0) writeSynced(join(unfinished, ABOUT), about);
        else writeFileSync(join(unfinished, ABOUT), about);
        return unfinished;
      } catch (error) {
        rmSync(unfinished, { recursive: true, force: true });
        throw error;
      }
    });
  }

  /** Makes it the volume, unless another process was faster. */
  #finish(name: string, unfinished: string): Volume {
    attempt('make', name, () => {
      try {
        renameSync(unfinished, join(this.path, name));
      } catch (error) {
        if (this.find(name) === undefined) throw error;
      }
    });
    const made = this.find(name);
    if (made !== undefined) return made;
    throw new SandboxError('state', `cannot make the volume ${name}: it was removed at once`);
  }

  #entries(): string[] {
    try {
      return readdirSync(this.path);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return [];
      throw new SandboxError('state', `cannot list the volumes: ${messageOf(cause)}`, { cause });
    }
  }
}

/**
 * Undefined if the record is missing or incomplete because the host went down before it was written.
 * @throws Error of the file system; ENOENT if there is no volume
 */
function readAbout(folder: string): (Pick<Volume, 'createdAt' | 'labels'> & VolumeBounds) | undefined {
  let about: { createdAt?: unknown; labels?: unknown; size?: unknown; inodes?: unknown } | undefined;
  try {
    about = readRecord(join(folder, ABOUT));
  } catch (error) {
    if (!hasCode(error, 'ENOENT') || !lstatSync(join(folder, DATA)).isDirectory()) throw error;
  }
  const { createdAt, labels, size, inodes } = about ?? {};
  if (typeof createdAt !== 'string' || typeof labels !== 'object' || labels === null) return undefined;
  return {
    createdAt,
    labels: Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, `${value}`])),
    ...(isBound(size) ? { size } : {}),
    ...(isBound(inodes) ? { inodes } : {}),
  };
}

/** @throws SandboxError `conflict` if other bounds are wanted */
function withBounds(volume: Volume, { size = volume.size, inodes = volume.inodes }: VolumeBounds): Volume {
  if (size === volume.size && inodes === volume.inodes) return volume;
  const [has, wanted] = [volume, { size, inodes }].map(describe);
  throw new SandboxError('conflict', `the volume ${volume.name} exists with ${has}, not ${wanted}`);
}

function describe({ size, inodes }: { size?: number | undefined; inodes?: number | undefined }): string {
  const words = [
    ...(size === undefined ? [] : [`${size} bytes`]),
    ...(inodes === undefined ? [] : [`${inodes} inodes`]),
  ];
  return words.length === 0 ? 'no bounds' : `at most ${words.join(' and ')}`;
}

/** @throws SandboxError `bad-spec` if the contents of an image exceed the bounds of the volume */
async function checkFits({ name, size, inodes }: Pick<Volume, 'name'> & VolumeBounds, data: string): Promise<void> {
  if (size === undefined && inodes === undefined) return;
  const has = await measureTree(data);
  if (has.bytes <= (size ?? has.bytes) && has.inodes <= (inodes ?? has.inodes)) return;
  const what = `${has.bytes} bytes, ${has.inodes} inodes`;
  throw new SandboxError('bad-spec', `the image's files do not fit into the volume ${name}: they take ${what}`);
}

/** A random name for an anonymous volume, as Docker makes them. */
export function drawVolumeName(): string {
  return randomBytes(32).toString('hex');
}

export function isAnonymous({ labels }: Volume): boolean {
  return ANONYMOUS in labels;
}

/** Bytes on disk of the files of a volume, as far as this user can read its folders. */
export async function volumeSize({ mountpoint }: Volume): Promise<number> {
  return (await measureTree(mountpoint)).bytes;
}

/** Removes an unfinished folder. What cannot be removed stays, and a sweep tries it again. */
async function discard(path: string): Promise<void> {
  try {
    await removeTree(path);
  } catch (error) {
    if (!(error instanceof TreeError)) throw error;
  }
}

function isEmpty({ name, mountpoint }: Volume): boolean {
  return attempt('read', name, () => readdirSync(mountpoint).length === 0);
}

/** Replaces the volume's folder if it is empty: rename(2) replaces only empty directories. */
function replaceEmpty({ name, mountpoint }: Volume, by: string): void {
  attempt('fill', name, () => {
    try {
      renameSync(by, mountpoint);
    } catch (error) {
      // Another process filled or removed it meanwhile; that stands.
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT')) throw error;
    }
  });
}

function attempt<T>(what: string, name: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw failure(what, name, cause);
  }
}

function failure(what: string, name: string, cause: unknown, hint?: string): SandboxError {
  const message = [messageOf(cause), hint].filter((part) => part !== undefined).join('; ');
  return new SandboxError('state', `cannot ${what} the volume ${name}: ${message}`, { cause });
}
