// One FUSE session: the current request and its reply, in the arena, and the files that they refer
// to.
import { constants } from 'node:os';
import { ATTR_OUT_SIZE, ENTRY_OUT_SIZE, FUSE_ATTR_SUBMOUNT, IN_HEADER_SIZE } from './fuse.js';
import type { Handles } from './handles.js';
import {
  type Host,
  PAYLOAD,
  REQUEST,
  S_IFDIR,
  STATX_ATIME,
  STATX_BLKSIZE,
  STATX_BLOCKS,
  STATX_CTIME,
  STATX_GID,
  STATX_INO,
  STATX_MODE,
  STATX_MTIME,
  STATX_NLINK,
  STATX_RDEV_MAJOR,
  STATX_RDEV_MINOR,
  STATX_SIZE,
  STATX_UID,
} from './host.js';
import type { Inode, Share } from './inode.js';
import type { Inodes } from './inodes.js';
import { toGuest } from './owner.js';

const { EINVAL, ENAMETOOLONG, ENFILE, EROFS } = constants.errno;

/** Offset of a request's arguments in the arena, in bytes. */
const ARGUMENTS = REQUEST + IN_HEADER_SIZE;

const MAX_NAME = 255;
const SLASH = 0x2f;
const DOT = 0x2e;

/** Seconds that the guest caches names and attributes. The host may change them at any time. */
const VALID = 1;

export class Session {
  /** Bytes of the request after its header. */
  length = 0;
  /** User and group of the calling process in the guest. */
  uid = 0;
  gid = 0;
  readonly #text: Buffer;

  constructor(
    readonly host: Host,
    readonly shares: readonly Share[],
    readonly inodes: Inodes,
    readonly handles: Handles,
  ) {
    this.#text = Buffer.from(host.bytes.buffer);
  }

  /** A 32-bit argument, `at` bytes after the header. */
  u32(at: number): number {
    return this.host.view.getUint32(ARGUMENTS + at, true);
  }

  /** A 64-bit argument. A value above 2^53 loses bits, and is above every bound. */
  u64(at: number): number {
    return this.u32(at) + this.u32(at + 4) * 2 ** 32;
  }

  bigint(at: number): bigint {
    return this.host.view.getBigUint64(ARGUMENTS + at, true);
  }

  /** The address of an argument. */
  address(at: number): number {
    return this.host.at(ARGUMENTS + at);
  }

  /** The length of the NUL-terminated string at `at`; -1 if it has no NUL. */
  stringLength(at: number): number {
    if (at >= this.length) return -1;
    const end = this.host.bytes.indexOf(0, ARGUMENTS + at);
    return end < 0 || end >= ARGUMENTS + this.length ? -1 : end - ARGUMENTS - at;
  }

  /** The length of the name of one file at `at`, or the negative errno. */
  nameLength(at: number): number {
    const length = this.stringLength(at);
    if (length <= 0) return -EINVAL;
    if (length > MAX_NAME) return -ENAMETOOLONG;
    const { bytes } = this.host;
    const start = ARGUMENTS + at;
    if (bytes[start] === DOT && (length === 1 || (length === 2 && bytes[start + 1] === DOT))) return -EINVAL;
    for (let index = start; index < start + length; index++) if (bytes[index] === SLASH) return -EINVAL;
    return length;
  }

  /** Bytes of the request as Latin-1. */
  string(at: number, length: number): string {
    return this.#text.toString('latin1', ARGUMENTS + at, ARGUMENTS + at + length);
  }

  /** Bytes of the reply's payload as Latin-1. */
  replyString(at: number, length: number): string {
    return this.#text.toString('latin1', PAYLOAD + at, PAYLOAD + at + length);
  }

  /** Returns 0 if the guest may change the share of `inode`, or the negative errno. */
  mayChange(inode: Inode): number {
    return inode.share.readOnly ? -EROFS : 0;
  }

  /** Writes `struct fuse_attr` of {@link STATX} at `at` of the payload. */
  putAttributes(at: number, inode: Inode): void {
    const { host } = this;
    const { words } = host;
    const to = (PAYLOAD + at) / 4;
    words[to] = host.stat(STATX_INO);
    words[to + 1] = host.stat(STATX_INO + 1);
    words[to + 2] = host.stat(STATX_SIZE);
    words[to + 3] = host.stat(STATX_SIZE + 1);
    words[to + 4] = host.stat(STATX_BLOCKS);
    words[to + 5] = host.stat(STATX_BLOCKS + 1);
    words[to + 6] = host.stat(STATX_ATIME);
    words[to + 7] = host.stat(STATX_ATIME + 1);
    words[to + 8] = host.stat(STATX_MTIME);
    words[to + 9] = host.stat(STATX_MTIME + 1);
    words[to + 10] = host.stat(STATX_CTIME);
    words[to + 11] = host.stat(STATX_CTIME + 1);
    words[to + 12] = host.stat(STATX_ATIME + 2);
    words[to + 13] = host.stat(STATX_MTIME + 2);
    words[to + 14] = host.stat(STATX_CTIME + 2);
    words[to + 15] = host.stat(STATX_MODE) & 0xffff;
    words[to + 16] = host.stat(STATX_NLINK);
    words[to + 17] = toGuest(host.stat(STATX_UID), inode.share.owner?.uid);
    words[to + 18] = toGuest(host.stat(STATX_GID), inode.share.owner?.gid);
    words[to + 19] = deviceNumber(host.stat(STATX_RDEV_MAJOR), host.stat(STATX_RDEV_MINOR));
    words[to + 20] = host.stat(STATX_BLKSIZE);
    words[to + 21] = this.#isFileSystemRoot(inode) ? FUSE_ATTR_SUBMOUNT : 0;
  }

  /**
   * Returns true if the guest gives the files from here on a device number of their own: the host's
   * device number changes here, so inode numbers may repeat. Otherwise false, for speed: Linux 6.1
   * reads `security.capability` at each write to such a file system.
   */
  #isFileSystemRoot(inode: Inode): boolean {
    if (inode.type !== S_IFDIR) return false;
    if (inode === inode.share.root) return inode.device !== this.shares[0]?.device;
    return inode.parent !== undefined && inode.parent.device !== inode.device;
  }

  /** Writes `struct fuse_attr_out` of {@link STATX}; returns its size. */
  putAttrOut(inode: Inode): number {
    const to = PAYLOAD / 4;
    this.host.words.fill(0, to, to + 4);
    this.host.words[to] = VALID;
    this.putAttributes(16, inode);
    return ATTR_OUT_SIZE;
  }

  /** Replies with the current attributes of `inode`, read from `fd`. */
  attributesOf(inode: Inode, fd: number): number {
    const error = this.host.statx(fd);
    return error < 0 ? error : this.putAttrOut(inode);
  }

  /**
   * Writes `struct fuse_entry_out` of {@link STATX} at `at` of the payload, and counts a lookup.
   */
  putEntry(at: number, inode: Inode): number {
    const { words } = this.host;
    const to = (PAYLOAD + at) / 4;
    words.fill(0, to, to + 10);
    words[to] = inode.node % 2 ** 32;
    words[to + 1] = Math.floor(inode.node / 2 ** 32);
    words[to + 4] = VALID;
    words[to + 6] = VALID;
    this.putAttributes(at + 40, inode);
    inode.lookups++;
    return ENTRY_OUT_SIZE;
  }

  /**
   * Replies with the entry `name`, at `address`, of the directory `parent`, whose descriptor is
   * `fd`.
   */
  entryOf(parent: Inode, fd: number, address: number, name: string): number {
    const error = this.host.statxName(fd, address);
    if (error < 0) return error;
    const inode = this.inodes.adopt(parent, name);
    return inode === undefined ? -ENFILE : this.putEntry(0, inode);
  }
}

/** A device number as the kernel gives it to user space in 32 bits (Linux, new_encode_dev). */
function deviceNumber(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}
