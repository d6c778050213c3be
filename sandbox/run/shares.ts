// The folders and files of the host that a machine shares with its guest.
import type { ShareSpec } from '../../vmm/machine.js';
import type { ShareMount } from '../agent/protocol.js';
import type { Home } from '../home/home.js';
import { checkBindSource, type Mount, normalizedPath } from '../spec/mounts.js';

/** Both ends of a mount. The guest refers to the machine's share by its index in the list. */
export interface Share {
  host: ShareSpec;
  guest: Omit<ShareMount, 'index'>;
}

/**
 * The shares for the mounts of a container. Makes volumes that do not exist.
 * @throws SandboxError `bad-spec` if a bind mount's source is gone, `state` if a volume cannot be
 *   made
 */
export function resolveMounts(mounts: readonly Mount[], home: Home): Share[] {
  return mounts.map((mount) => {
    const readOnly = mount.readOnly ?? false;
    if (mount.type === 'bind') checkBindSource(mount.source);
    const path = mount.type === 'bind' ? mount.source : home.volumes.open(mount.source).mountpoint;
    return { host: { path, readOnly }, guest: { path: normalizedPath(mount.target), readonly: readOnly } };
  });
}
