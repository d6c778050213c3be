// The folders and files of the host that a machine shares with its guest.
import type { ShareSpec } from '../../vmm/machine.js';
import type { ShareMount } from '../agent/protocol.js';
import type { Home } from '../home/home.js';
import { checkBindSource, type Mount, normalizedPath } from '../spec/mounts.js';

/** A mount as machine and guest are told of it; the machine's share is the guest's by its place in the list. */
export interface Share {
  host: ShareSpec;
  guest: Omit<ShareMount, 'index'>;
}

/**
 * What the machine shares for the mounts. Volumes that are missing are made.
 * @throws SandboxError `bad-spec` if a bind mount's source is gone, `state` if a volume cannot be made
 */
export function resolveMounts(mounts: readonly Mount[], home: Home): Share[] {
  return mounts.map((mount) => {
    const readOnly = mount.readOnly ?? false;
    if (mount.type === 'bind') checkBindSource(mount.source);
    const path = mount.type === 'bind' ? mount.source : home.volumes.open(mount.source).mountpoint;
    return { host: { path, readOnly }, guest: { path: normalizedPath(mount.target), readonly: readOnly } };
  });
}
