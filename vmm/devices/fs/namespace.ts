// Requests about names in directories: lookup, creation, renaming and removal.

import { constants } from 'node:os';
import { EMPTY_PATH } from '../../host/fixed-arguments.js';
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  PAYLOAD,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  SYS_LINKAT,
  SYS_MKDIRAT,
  SYS_MKNODAT,
  SYS_READLINKAT,
  SYS_RENAMEAT2,
  SYS_SYMLINKAT,
  SYS_UNLINKAT,
} from './host.js';
import { fileMode, type Inode } from './inode.js';
import type { Session } from './session.js';

const { EINVAL, EPERM, ESTALE, EXDEV } = constants.errno;

const PATH_MAX = 4096;
const RENAME_EXCHANGE = 2;
const RENAME_WHITEOUT = 4;

/** A directory of the guest's, open, and a name in it. */
interface NamedEntry {
  directory: Inode;
  fd: number;
  /** Of the name in the request. */
  address: number;
  name: string;
  /** Length of the name in bytes. */
  length: number;
}

/**
 * Finds the entry that the name at `at` in the directory `node` names. Returns it or the negative
 * errno.
 */
function findEntry(session: Session, node: number, at: number): NamedEntry | number {
  const length = session.nameLength(at);
  if (length < 0) return length;
  const directory = session.inodes.get(node);
  if (directory === undefined) return -ESTALE;
  const fd = session.inodes.descriptor(directory);
  if (fd < 0) return fd;
  return { directory, fd, address: session.address(at), name: session.string(at, length), length };
}

/** Like {@link findEntry}, in a share that the guest may change. */
function findWritableEntry(session: Session, node: number, at: number): NamedEntry | number {
  const directory = session.inodes.get(node);
  const refusal = directory === undefined ? 0 : session.mayChange(directory);
  return refusal < 0 ? refusal : findEntry(session, node, at);
}

export function lookup(session: Session, node: number): number {
  const entry = findEntry(session, node, 0);
  if (typeof entry === 'number') return entry;
  return session.entryOf(entry.directory, entry.fd, entry.address, entry.name);
}

/**
 * Runs `act`, which adds the entry, and replies with it.
 * @param isNew a file is made, and not only a name for one
 */
function make(session: Session, entry: NamedEntry, isNew: boolean, act: () => number): number {
  const { directory, fd, address, name } = entry;
  const { budget } = directory.share;
  const result = budget === undefined ? act() : budget.add(fd, address, isNew, act);
  if (result < 0) return result;
  return session.entryOf(directory, fd, address, name);
}

/** `fuse_mknod_in`: u32 mode, rdev, umask, padding; name. */
export function mknod(session: Session, node: number): number {
  const entry = findWritableEntry(session, node, 16);
  if (typeof entry === 'number') return entry;
  const mode = session.u32(0);
  const type = mode & S_IFMT;
  // A device node in a shared folder would give access to the host's device.
  if (![0, S_IFREG, S_IFIFO, S_IFSOCK].includes(type)) return -EPERM;
  const { host } = session;
  const all = type | host.masked(entry.fd, fileMode(entry.directory.share, mode), session.u32(8));
  const act = () => host.call(SYS_MKNODAT, entry.fd, entry.address, all, 0);
  return make(session, entry, true, () => host.as(session.uid, session.gid, act));
}

/** `fuse_mkdir_in`: u32 mode, umask; name. */
export function mkdir(session: Session, node: number): number {
  const entry = findWritableEntry(session, node, 8);
  if (typeof entry === 'number') return entry;
  const { host } = session;
  const mode = host.masked(entry.fd, session.u32(0) & 0o7777, session.u32(4));
  const act = () => host.call(SYS_MKDIRAT, entry.fd, entry.address, mode);
  return make(session, entry, true, () => host.as(session.uid, session.gid, act));
}

/** Name, and what the link says. */
export function symlink(session: Session, node: number): number {
  const entry = findWritableEntry(session, node, 0);
  if (typeof entry === 'number') return entry;
  const target = entry.length + 1;
  if (session.stringLength(target) <= 0) return -EINVAL;
  const { host } = session;
  const act = () => host.call(SYS_SYMLINKAT, session.address(target), entry.fd, entry.address);
  return make(session, entry, true, () => host.as(session.uid, session.gid, act));
}

/** `fuse_link_in`: u64 oldnodeid; name. */
export function link(session: Session, node: number): number {
  const entry = findWritableEntry(session, node, 8);
  if (typeof entry === 'number') return entry;
  const { host, inodes } = session;
  const file = inodes.get(session.u64(0));
  if (file === undefined) return -ESTALE;
  if (file.share !== entry.directory.share) return -EXDEV;
  const fd = inodes.descriptor(file);
  if (fd < 0) return fd;
  const named = (path: number) => host.call(SYS_LINKAT, AT_FDCWD, path, entry.fd, entry.address, AT_SYMLINK_FOLLOW);
  const act = () => host.onPath(fd, named);
  const reply = make(session, entry, false, act);
  // A file without a name has one now.
  if (reply >= 0) file.share.budget?.named(file);
  return reply;
}

export function readlink(session: Session, node: number): number {
  const { host, inodes } = session;
  const inode = inodes.get(node);
  if (inode === undefined) return -ESTALE;
  if (inode.type !== S_IFLNK) return -EINVAL;
  const fd = inodes.descriptor(inode);
  return fd < 0 ? fd : host.call(SYS_READLINKAT, fd, EMPTY_PATH, host.at(PAYLOAD), PATH_MAX);
}

/**
 * Returns the inode of the file with this name, with its descriptor open: the file may be about to
 * lose its name while the guest has it open or as a working directory. Undefined if there is no
 * such file, or the guest does not know it.
 */
function holdFileAt(session: Session, { directory, fd, address }: NamedEntry): Inode | undefined {
  if (session.host.statxName(fd, address) < 0) return undefined;
  const inode = session.inodes.find(directory.share);
  if (inode !== undefined) session.inodes.hold(inode);
  return inode;
}

/** The name no longer means `inode`. */
function forgetName(session: Session, inode: Inode | undefined, { directory, name }: NamedEntry): void {
  if (inode?.parent === directory && inode.name === name) session.inodes.unnamed(inode);
}

function remove(session: Session, node: number, flags: number): number {
  const entry = findWritableEntry(session, node, 0);
  if (typeof entry === 'number') return entry;
  const inode = holdFileAt(session, entry);
  const { fd } = entry;
  const { budget } = entry.directory.share;
  const act = () => session.host.call(SYS_UNLINKAT, fd, entry.address, flags);
  const result = budget === undefined ? act() : budget.remove(fd, entry.address, inode, act);
  if (result === 0) forgetName(session, inode, entry);
  return result;
}

export function unlink(session: Session, node: number): number {
  return remove(session, node, 0);
}

export function rmdir(session: Session, node: number): number {
  return remove(session, node, AT_REMOVEDIR);
}

/** `fuse_rename_in`: u64 newdir; old name, new name. */
export function rename(session: Session, node: number): number {
  return move(session, node, 8, 0);
}

/** `fuse_rename2_in`: u64 newdir, u32 flags, padding; old name, new name. */
export function rename2(session: Session, node: number): number {
  return move(session, node, 16, session.u32(8));
}

function move(session: Session, node: number, at: number, flags: number): number {
  const from = findWritableEntry(session, node, at);
  if (typeof from === 'number') return from;
  const to = findWritableEntry(session, session.u64(0), at + from.length + 1);
  if (typeof to === 'number') return to;
  if (from.directory.share !== to.directory.share) return -EXDEV;
  const { host, inodes } = session;
  const replaced = holdFileAt(session, to);
  const moving = host.statxName(from.fd, from.address) < 0 ? undefined : inodes.find(from.directory.share);
  const { budget } = from.directory.share;
  const exchanges = (flags & RENAME_EXCHANGE) !== 0;
  const act = () => host.call(SYS_RENAMEAT2, from.fd, from.address, to.fd, to.address, flags);
  const result =
    budget === undefined
      ? act()
      : budget.move(from, to, { replaced, exchanges, leaves: (flags & RENAME_WHITEOUT) !== 0 }, act);
  if (result < 0) return result;
  if (exchanges) {
    if (replaced !== undefined) inodes.moved(replaced, from.directory, from.name);
  } else if (replaced !== moving) {
    forgetName(session, replaced, to);
  }
  if (moving !== undefined) inodes.moved(moving, to.directory, to.name);
  return 0;
}

/** `fuse_forget_in`: u64 nlookup. */
export function forget(session: Session, node: number): number {
  session.inodes.forget(node, session.u64(0));
  return 0;
}

/** `fuse_batch_forget_in`: u32 count, dummy; u64 nodeid and nlookup of each. */
export function batchForget(session: Session): number {
  const count = Math.min(session.u32(0), Math.floor((session.length - 8) / 16));
  for (let at = 8; at < 8 + count * 16; at += 16) session.inodes.forget(session.u64(at), session.u64(at + 8));
  return 0;
}
