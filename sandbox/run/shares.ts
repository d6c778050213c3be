// The folders and files of the host that a machine shares with its guest. They are opened here,
// once for each start, and the machine gets the descriptors: a path may lead elsewhere later.
import { closeSync } from 'node:fs';
import type { ShareBudget } from '../../vmm/machine.js';
import { defined } from '../defined.js';
import type { Home } from '../home/home.js';
import { isSameFile, openSource } from '../home/mount-sources.js';
import { type BindMount, type Mount, normalizedPath, type VolumeMount } from '../spec/mounts.js';

/** Both ends of a mount. The guest refers to the machine's share by its index in the list. */
export interface Share {
  /** Path on the host, for messages. */
  path: string;
  /** Path in the container. */
  target: string;
  readOnly: boolean;
  /** Files keep set-user-ID bits and capabilities. */
  keepSetId: boolean;
  /** What it may have at most. Absent: no bound. */
  budget?: ShareBudget;
}

/** Shares that are open. Disposing of them closes the descriptors. */
export class OpenShares implements Disposable {
  readonly all: Share[] = [];
  readonly #shares: number[] = [];
  readonly #counts: number[] = [];
  readonly #watches: Disposable[] = [];

  add(share: Share, fd: number): void {
    this.all.push(share);
    this.#shares.push(fd);
  }

  /** Adds the count of the last share. @param watch until the machine is gone */
  addCount(fd: number, watch: Disposable): void {
    this.#counts.push(fd);
    this.#watches.push(watch);
  }

  /** Returns what looks after the counts, which the caller owns from now on. */
  takeWatches(): Disposable[] {
    return this.#watches.splice(0);
  }

  /**
   * Returns the descriptors, which the caller owns from now on: the shares, opened with O_PATH, in the
   * order of `all`; then the counts of those with a budget.
   */
  take(): number[] {
    return [...this.#shares.splice(0), ...this.#counts.splice(0)];
  }

  [Symbol.dispose](): void {
    for (const fd of this.take()) closeSync(fd);
    for (const watch of this.takeWatches()) watch[Symbol.dispose]();
  }
}

/**
 * Opens what the mounts of a container share. Makes volumes that do not exist.
 * @throws SandboxError `bad-spec` if a bind mount's source is gone or another, `state` if a volume
 *   cannot be made or opened
 */
export async function openShares(mounts: readonly Mount[], home: Home): Promise<OpenShares> {
  const shares = new OpenShares();
  const replaced: BindMount[] = [];
  try {
    for (const mount of mounts) {
      const common = { target: normalizedPath(mount.target), readOnly: mount.readOnly ?? false };
      if (mount.type === 'bind') {
        const { fd, path } = openBind(mount, home, replaced);
        shares.add({ ...common, path, keepSetId: mount.suid === true }, fd);
      } else {
        await addVolume(shares, mount, common, home);
      }
    }
    if (replaced.length > 0) await home.containers.withLock(() => home.sharedFolders.add(replaced));
    return shares;
  } catch (error) {
    shares[Symbol.dispose]();
    throw error;
  }
}

async function addVolume(
  shares: OpenShares,
  { source, bounds }: VolumeMount,
  common: Pick<Share, 'target' | 'readOnly'>,
  home: Home,
): Promise<void> {
  const { fd, volume } = home.volumes.openFolder(source, bounds);
  const { mountpoint: path, size, inodes } = volume;
  const isBounded = !common.readOnly && (size !== undefined || inodes !== undefined);
  // Other users cannot enter the folder of a volume.
  const share: Share = { ...common, path, keepSetId: true };
  shares.add(share, fd);
  if (!isBounded) return;
  const count = await home.volumes.openCount(volume);
  shares.addCount(count.fd, home.volumes.watchCount(volume));
  share.budget = { ...defined({ bytes: size, inodes }), slot: count.slot };
}

/** Adds the mount to `replaced` if its source is another file than when the container was created. */
function openBind(mount: BindMount, home: Home, replaced: BindMount[]): { fd: number; path: string } {
  const { file, ...open } = openSource(mount, home.sharedFolders);
  if (mount.file === undefined || !isSameFile(file, mount.file)) replaced.push({ ...mount, file });
  return open;
}
