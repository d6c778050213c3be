// Named volumes: folders that outlive containers, in `volumes/NAME` of the state folder. A volume is made under another
// name, with what it begins with, and renamed when it is whole, so that what a crash leaves is not a volume.
import { randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, messageOf } from '../../errors/index.js';
import { bytesOnDisk } from '../../images/index.js';
import { SandboxError } from '../errors.js';
import { checkVolumeName, type Mount } from '../spec/mounts.js';
import type { ContainerStore } from './container-store.js';

const DATA = '_data';
const ABOUT = 'volume.json';
/** Begins the names of what is being made or removed: no volume's. */
const UNFINISHED = '.';
/** Milliseconds after which whoever made it is dead. What is being removed anyway may be removed by two. */
const UNDER_WAY = 600_000;
/** What Docker marks volumes with that nobody named. */
const ANONYMOUS = 'com.docker.volume.anonymous';
export const ANONYMOUS_LABELS: Readonly<Record<string, string>> = { [ANONYMOUS]: '' };

export interface Volume {
  name: string;
  /** The folder with the volume's files. */
  mountpoint: string;
  /** ISO 8601. */
  createdAt: string;
  labels: Record<string, string>;
}

/** What a new volume begins with: puts it into an empty folder; whether there was anything. */
export type VolumeContents = (folder: string) => Promise<boolean>;

/** The volumes of one home. */
export class VolumeStore {
  readonly #path: string;
  readonly #containers: ContainerStore;

  /**
   * @param home path of the state folder
   * @internal
   */
  constructor(home: string, containers: ContainerStore) {
    this.#containers = containers;
    this.#path = join(home, 'volumes');
  }

  /** The volume of that name, or undefined. @throws SandboxError `bad-spec` for what is no name, `state` */
  find(name: string): Volume | undefined {
    checkVolumeName(name);
    const folder = join(this.#path, name);
    try {
      const { createdAt, labels } = JSON.parse(readFileSync(join(folder, ABOUT), 'utf8'));
      return { name, mountpoint: join(folder, DATA), createdAt, labels };
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return undefined;
      throw new SandboxError('state', `cannot read the volume ${name}: ${messageOf(cause)}`, { cause });
    }
  }

  /** All volumes, by name. @throws SandboxError `state` */
  list(): Volume[] {
    return this.#entries()
      .filter((name) => !name.startsWith(UNFINISHED))
      .sort()
      .flatMap((name) => this.find(name) ?? []);
  }

  /**
   * Makes a volume, unless there is one of that name.
   * @throws SandboxError `bad-spec` for what is no name, `state`
   */
  open(name: string, labels: Record<string, string> = {}): Volume {
    const known = this.find(name);
    if (known !== undefined) return known;
    const unfinished = this.#begin(name, labels);
    try {
      return this.#finish(name, unfinished);
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  }

  /** Makes a volume under a name that is drawn. @throws SandboxError `state` */
  openAnonymous(labels: Record<string, string> = {}): Volume {
    return this.open(drawVolumeName(), { ...labels, ...ANONYMOUS_LABELS });
  }

  /**
   * Makes a volume, unless there is one of that name, and puts `contents` into one that is empty and that no container has.
   * @throws SandboxError `bad-spec` for what is no name, `state`; what `contents` throws
   * @internal
   */
  async fill(name: string, labels: Readonly<Record<string, string>>, contents: VolumeContents): Promise<void> {
    const known = this.find(name);
    if (known !== undefined && !isEmpty(known)) return;
    const unfinished = this.#begin(name, labels);
    try {
      const data = join(unfinished, DATA);
      const isFilled = await contents(data);
      const volume = known ?? this.#finish(name, unfinished);
      // Still there: the volume was not made of it.
      if (!isFilled || lstatSync(data, { throwIfNoEntry: false }) === undefined) return;
      await this.#containers.withLock(() => {
        // The machine of a container that has it has opened its folder.
        if (this.users(name).length === 0) replaceEmpty(volume, data);
      });
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
  }

  /** The containers, running or not, that have a volume mounted: their IDs. */
  users(name: string): string[] {
    return this.#containers
      .list()
      .filter(({ config }) => config.spec.mounts?.some(({ type, source }) => type === 'volume' && source === name))
      .map(({ folder }) => folder.id);
  }

  /**
   * Removes a volume with its files.
   * @throws SandboxError `no-such-volume`, `conflict` when a container has it, `state`
   */
  async remove(name: string): Promise<void> {
    if (this.find(name) === undefined) throw new SandboxError('no-such-volume', `no such volume: ${name}`);
    const doomed = join(this.#path, `${UNFINISHED}${name}-${randomBytes(8).toString('hex')}`);
    // No container comes between the look and the deed.
    await this.#containers.withLock(() => {
      const users = this.users(name);
      if (users.length > 0) throw new SandboxError('conflict', `volume is in use: ${name}: [${users.join(', ')}]`);
      attempt('remove', name, () => renameSync(join(this.#path, name), doomed));
    });
    attempt('remove', name, () => rmSync(doomed, { recursive: true, force: true }));
  }

  /**
   * Removes the anonymous volumes of a container that is gone, but for those that another container has.
   * @internal
   */
  async removeAnonymous(mounts: readonly Mount[] = []): Promise<void> {
    for (const mount of mounts) {
      if (mount.type !== 'volume' || !mount.anonymous) continue;
      try {
        await this.remove(mount.source);
      } catch (error) {
        if (!hasCode(error, 'conflict', 'no-such-volume')) throw error;
      }
    }
  }

  /** Removes what somebody who was killed has left: neither volume nor wanted any more. */
  sweep(): void {
    for (const name of this.#entries()) {
      const path = join(this.#path, name);
      const made = name.startsWith(UNFINISHED) ? lstatSync(path, { throwIfNoEntry: false })?.mtimeMs : undefined;
      if (made === undefined || Date.now() - made <= UNDER_WAY) continue;
      // Whoever is at work on it all the same never finds a part of it.
      const doomed = join(this.#path, `${UNFINISHED}${randomBytes(8).toString('hex')}`);
      try {
        renameSync(path, doomed);
      } catch {
        // Somebody else has.
        continue;
      }
      rmSync(doomed, { recursive: true, force: true });
    }
  }

  /** A folder that becomes a volume. Closed to others, as a guest may leave programs with set-user-ID in it. */
  #begin(name: string, labels: Readonly<Record<string, string>>): string {
    const unfinished = join(this.#path, `${UNFINISHED}${name}-${randomBytes(8).toString('hex')}`);
    const createdAt = new Date().toISOString();
    return attempt('make', name, () => {
      mkdirSync(this.#path, { recursive: true, mode: 0o700 });
      mkdirSync(unfinished, { mode: 0o700 });
      mkdirSync(join(unfinished, DATA));
      // Docker's; the umask is no matter of the guest's.
      chmodSync(join(unfinished, DATA), 0o755);
      writeFileSync(join(unfinished, ABOUT), JSON.stringify({ createdAt, labels }));
      return unfinished;
    });
  }

  /** Makes it the volume, unless somebody else was faster. */
  #finish(name: string, unfinished: string): Volume {
    attempt('make', name, () => {
      try {
        renameSync(unfinished, join(this.#path, name));
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
      return readdirSync(this.#path);
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return [];
      throw new SandboxError('state', `cannot list the volumes: ${messageOf(cause)}`, { cause });
    }
  }
}

/** A name for a volume that nobody names, as Docker draws it. */
export function drawVolumeName(): string {
  return randomBytes(32).toString('hex');
}

export function isAnonymous({ labels }: Volume): boolean {
  return ANONYMOUS in labels;
}

/** Bytes on the host's disk of a volume's files. */
export function volumeSize({ mountpoint }: Volume): number {
  return bytesOnDisk(mountpoint);
}

function isEmpty({ name, mountpoint }: Volume): boolean {
  return attempt('read', name, () => readdirSync(mountpoint).length === 0);
}

/** rename(2) replaces a directory by another one only if it is empty. */
function replaceEmpty({ name, mountpoint }: Volume, by: string): void {
  attempt('fill', name, () => {
    try {
      renameSync(by, mountpoint);
    } catch (error) {
      // Somebody has put something into it, or removed it; that stands.
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT')) throw error;
    }
  });
}

function attempt<T>(what: string, name: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw new SandboxError('state', `cannot ${what} the volume ${name}: ${messageOf(cause)}`, { cause });
  }
}
