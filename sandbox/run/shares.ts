// The folders and files of the host that a machine shares with its guest. They are opened here,
// once for each start, and the machine gets the descriptors: a path may lead elsewhere later.
import { closeSync } from 'node:fs';
import type { Home } from '../home/home.js';
import { isSameFile, openSource } from '../home/mount-sources.js';
import { type BindMount, type Mount, normalizedPath } from '../spec/mounts.js';

/** Both ends of a mount. The guest refers to the machine's share by its index in the list. */
export interface Share {
  /** Path on the host, for messages. */
  path: string;
  /** Path in the container. */
  target: string;
  readOnly: boolean;
  /** Files keep set-user-ID bits and capabilities. */
  keepSetId: boolean;
}

/** Shares that are open. Disposing of them closes the descriptors. */
export class OpenShares implements Disposable {
  readonly all: Share[] = [];
  /** Opened with O_PATH, in the order of `all`. */
  readonly descriptors: number[] = [];

  add(share: Share, fd: number): void {
    this.all.push(share);
    this.descriptors.push(fd);
  }

  /** Returns the descriptors, which the caller owns from now on. */
  take(): number[] {
    return this.descriptors.splice(0);
  }

  [Symbol.dispose](): void {
    for (const fd of this.descriptors.splice(0)) closeSync(fd);
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
      const isBind = mount.type === 'bind';
      const { fd, path } = isBind ? openBind(mount, home, replaced) : home.volumes.openFolder(mount.source);
      // Other users cannot enter the folder of a volume.
      const keepSetId = mount.type === 'volume' || mount.suid === true;
      shares.add({ path, target: normalizedPath(mount.target), readOnly: mount.readOnly ?? false, keepSetId }, fd);
    }
    if (replaced.length > 0) await home.containers.withLock(() => home.sharedFolders.add(replaced));
    return shares;
  } catch (error) {
    shares[Symbol.dispose]();
    throw error;
  }
}

/** Adds the mount to `replaced` if its source is another file than when the container was created. */
function openBind(mount: BindMount, home: Home, replaced: BindMount[]): { fd: number; path: string } {
  const { file, ...open } = openSource(mount, home.sharedFolders);
  if (mount.file === undefined || !isSameFile(file, mount.file)) replaced.push({ ...mount, file });
  return open;
}
