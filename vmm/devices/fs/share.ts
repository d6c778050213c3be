// A shared folder or file: what the guest may do in it, and whose its files are.
import type { Inode } from './inodes.js';

/** The user that files of others than the caller seem to belong to (Linux, overflowuid). */
export const NOBODY = 65534;

/** The host user whose files are root's in the guest; undefined: users are the same on both sides. */
export interface Owner {
  uid: number;
  gid: number;
}

export interface Share {
  readonly readOnly: boolean;
  readonly owner: Owner | undefined;
  /** Of its root: device numbers as {@link Inode.device}. */
  readonly device: number;
  /** By host inode number, on other devices with the device's. */
  readonly inodes: Map<number | string, Inode>;
  root: Inode | undefined;
}

/** A host user or group as the guest sees it. */
export function toGuest(id: number, own: number | undefined): number {
  if (own === undefined) return id;
  return id === own ? 0 : NOBODY;
}

/** A user or group of the guest on the host; undefined for one that is nobody there. */
export function toHost(id: number, own: number | undefined): number | undefined {
  if (own === undefined) return id;
  return id === 0 ? own : undefined;
}
