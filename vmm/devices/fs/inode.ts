// A share and the files of it that the guest knows.
import type { Owner } from './owner.js';

/** A shared folder or file. */
export interface Share {
  readonly readOnly: boolean;
  readonly owner: Owner | undefined;
  /** Of its root: device numbers as {@link Inode.device}. */
  readonly device: number;
  /** By host inode number, on other devices with the device's. */
  readonly inodes: Map<number | string, Inode>;
  root: Inode | undefined;
}

/** A file of a share. */
export interface Inode {
  readonly node: number;
  readonly share: Share;
  /** In `share.inodes`. */
  readonly key: number | string;
  readonly device: number;
  readonly birthSeconds: number;
  readonly birthNanoseconds: number;
  /** S_IFREG, S_IFDIR, ... */
  readonly type: number;
  /** Undefined for the share's root, and for a file whose last known name was removed: its descriptor stays open. */
  parent: Inode | undefined;
  /** Bytes as Latin-1. */
  name: string;
  /** O_PATH, or -1. */
  fd: number;
  /** How often the guest was told of it, less what it forgot. */
  lookups: number;
  /** Inodes whose parent it is, and open files. While there are any, it is remembered. */
  users: number;
  /** Descriptors of its open files. */
  readonly openFds: number[];
  /** Place among those whose descriptor may be closed, or -1. */
  place: number;
  recentlyUsed: boolean;
  /** Size and times when the guest last opened it, and nothing else had changed it of late. */
  stamp: string;
}

/** A descriptor of an open file of the inode, or -1. */
export function openDescriptor({ openFds }: Inode): number {
  return openFds[0] ?? -1;
}
