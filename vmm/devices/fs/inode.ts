// A share and the files of it that the guest knows.
import type { Budget, CountedFile } from './budget.js';
import type { Owner } from './owner.js';

/** A shared folder or file. */
export interface Share {
  readonly readOnly: boolean;
  /** Files may have set-user-ID and set-group-ID bits, and capabilities. */
  readonly keepSetId: boolean;
  readonly owner: Owner | undefined;
  /** Undefined: as much as the host has room for. */
  readonly budget: Budget | undefined;
  /** Device number of its root, as {@link Inode.device}. */
  readonly device: number;
  /** By host inode number; for files on other devices, by device and inode number. */
  readonly inodes: Map<number | string, Inode>;
  root: Inode | undefined;
}

/** A file of a share. */
export interface Inode extends CountedFile {
  readonly node: number;
  readonly share: Share;
  /** Its key in `share.inodes`. */
  readonly key: number | string;
  readonly device: number;
  readonly birthSeconds: number;
  readonly birthNanoseconds: number;
  /** S_IFREG, S_IFDIR, ... */
  readonly type: number;
  /**
   * Undefined for the share's root, for a file whose known name was removed, and for one that was
   * created without a name. A descriptor of it stays open as long as the guest may use it.
   */
  parent: Inode | undefined;
  /** Bytes as Latin-1. */
  name: string;
  /** Lookups by the guest that it has not forgotten. */
  lookups: number;
  /** Number of child inodes and open files. The inode is kept while there are any. */
  users: number;
  /** Index in the clock of closable descriptors, or -1. */
  place: number;
  recentlyUsed: boolean;
  /** Number of the last request that needed its descriptor, which stays open until the next one. */
  request: number;
  /**
   * Size and times at the guest's last open, if the file had not changed just before; else empty.
   */
  stamp: string;
}

/** The mode that a new file of the share gets for the one that the guest chose. Not for folders. */
export function fileMode({ keepSetId }: Share, mode: number): number {
  return mode & (keepSetId ? 0o7777 : 0o1777);
}

/** Returns the descriptor of an open file of the inode, or -1. */
export function openDescriptor({ openFds }: Inode): number {
  return openFds[0] ?? -1;
}
