// Requests about attributes of files: owner, mode, size, times, extended attributes, and statistics
// of the file system.

import { constants as fs } from 'node:fs';
import { constants } from 'node:os';
import { EMPTY_PATH } from '../../host/fixed-arguments.js';
import type { Budget } from './budget.js';
import { clearSetId, killSetId } from './files.js';
import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_FH,
  FATTR_GID,
  FATTR_KILL_SUIDGID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FATTR_UID,
  FUSE_SETXATTR_ACL_KILL_SGID,
} from './fuse.js';
import {
  AT_EMPTY_PATH,
  MAX_REPLY,
  PAYLOAD,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  S_ISGID,
  SCRATCH,
  STATX_GID,
  STATX_MODE,
  STATX_UID,
  SYS_FCHOWNAT,
  SYS_FSTATFS,
  SYS_FTRUNCATE,
  SYS_GETXATTR,
  SYS_LISTXATTR,
  SYS_REMOVEXATTR,
  SYS_SETXATTR,
  SYS_SYNCFS,
  SYS_UTIMENSAT,
} from './host.js';
import { fileMode, type Inode } from './inode.js';
import { toGuest, toHost } from './owner.js';
import type { Session } from './session.js';

const { EBADF, EFBIG, EINVAL, EISDIR, ENODATA, EOPNOTSUPP, EPERM, ERANGE, ESTALE } = constants.errno;

const KSTATFS_SIZE = 80;
// utimensat(2), in the nanoseconds.
const UTIME_NOW = 0x3fffffff;
const UTIME_OMIT = 0x3ffffffe;
/** The attribute with a file's capabilities (capabilities(7)). */
const CAPABILITY = 'security.capability';
/** As a user or group: leave it unchanged. */
const SAME = -1;

/**
 * `fuse_getattr_in` may name an open file. The inode's own descriptor gives the same attributes.
 */
export function getattr(session: Session, node: number): number {
  const inode = session.inodes.get(node);
  if (inode === undefined) return -ESTALE;
  const fd = session.inodes.descriptor(inode);
  return fd < 0 ? fd : session.attributesOf(inode, fd);
}

/**
 * `fuse_setattr_in`: u32 valid, padding, u64 fh, size, lock_owner, atime, mtime, ctime, u32
 * atimensec, mtimensec, ctimensec, mode, unused, uid, gid.
 */
export function setattr(session: Session, node: number): number {
  const { host, inodes } = session;
  const inode = inodes.get(node);
  if (inode === undefined) return -ESTALE;
  const refusal = session.mayChange(inode);
  if (refusal < 0) return refusal;
  const fd = inodes.descriptor(inode);
  if (fd < 0) return fd;
  const valid = session.u32(0);
  let error = 0;
  if ((valid & FATTR_MODE) !== 0) error = changeMode(session, inode, fd, session.u32(68));
  if (error === 0 && (valid & (FATTR_UID | FATTR_GID)) !== 0) error = changeOwner(session, inode, fd, valid);
  if (error === 0 && (valid & FATTR_SIZE) !== 0) error = changeSize(session, inode, fd, valid);
  if (error === 0 && (valid & (FATTR_ATIME | FATTR_MTIME)) !== 0) {
    putTime(session, 0, valid & FATTR_ATIME, valid & FATTR_ATIME_NOW, 32, 56);
    putTime(session, 16, valid & FATTR_MTIME, valid & FATTR_MTIME_NOW, 40, 60);
    error = host.call(SYS_UTIMENSAT, fd, EMPTY_PATH, host.at(SCRATCH), AT_EMPTY_PATH);
  }
  return error < 0 ? error : session.attributesOf(inode, fd);
}

function changeMode({ host }: Session, inode: Inode, fd: number, mode: number): number {
  if (inode.type === S_IFLNK) return -EOPNOTSUPP;
  const kept = inode.type === S_IFDIR ? mode & 0o7777 : fileMode(inode.share, mode);
  return host.chmod(fd, kept);
}

function changeOwner(session: Session, inode: Inode, fd: number, valid: number): number {
  const { host } = session;
  const { owner } = inode.share;
  let uid: number | undefined = SAME;
  let gid: number | undefined = SAME;
  if (owner !== undefined) {
    const error = host.statx(fd);
    if (error < 0) return error;
  }
  if ((valid & FATTR_UID) !== 0) uid = newOwner(session.u32(76), host.stat(STATX_UID), owner?.uid);
  if ((valid & FATTR_GID) !== 0) gid = newOwner(session.u32(80), host.stat(STATX_GID), owner?.gid);
  if (uid === undefined || gid === undefined) return -EPERM;
  return host.call(SYS_FCHOWNAT, fd, EMPTY_PATH, uid, gid, AT_EMPTY_PATH);
}

/** The host's number for the owner `id` that the guest chose; undefined if the host has none. */
function newOwner(id: number, current: number, own: number | undefined): number | undefined {
  if (own !== undefined && id === toGuest(current, own)) return SAME;
  return toHost(id, own);
}

function changeSize(session: Session, inode: Inode, fd: number, valid: number): number {
  const { host, handles } = session;
  if (inode.type !== S_IFREG) return inode.type === S_IFDIR ? -EISDIR : -EINVAL;
  const size = session.u64(16);
  if (size > Number.MAX_SAFE_INTEGER) return -EFBIG;
  const open = (valid & FATTR_FH) !== 0 ? handles.file(session.u64(8)) : undefined;
  if ((valid & FATTR_FH) !== 0 && open?.inode !== inode) return -EBADF;
  const file = open?.fd ?? host.reopen(fd, fs.O_WRONLY);
  if (file < 0) return file;
  clearSetId(session, inode, file);
  const act = () => host.call(SYS_FTRUNCATE, file, size);
  const { budget } = inode.share;
  const error = budget === undefined ? act() : budget.shrink(inode, file, act);
  if (error === 0 && (valid & FATTR_KILL_SUIDGID) !== 0) killSetId(session, inode, file);
  if (open === undefined) host.close(file);
  return error;
}

/** Writes a `struct timespec` for utimensat: that of the request, now, or none. */
function putTime(session: Session, at: number, set: number, now: number, seconds: number, nanoseconds: number): void {
  const { view } = session.host;
  view.setBigUint64(SCRATCH + at, session.bigint(seconds), true);
  const value = now !== 0 ? UTIME_NOW : session.u32(nanoseconds);
  view.setBigUint64(SCRATCH + at + 8, BigInt(set !== 0 ? value : UTIME_OMIT), true);
}

/** Answered by `struct fuse_kstatfs` of the file system that the file is in. */
export function statfs(session: Session, node: number): number {
  const { host, inodes } = session;
  const to = PAYLOAD / 4;
  host.words.fill(0, to, to + KSTATFS_SIZE / 4);
  const inode = inodes.get(node);
  if (inode === undefined) return KSTATFS_SIZE;
  const fd = inodes.descriptor(inode);
  if (fd < 0) return fd;
  const error = host.call(SYS_FSTATFS, fd, host.at(SCRATCH));
  if (error < 0) return error;
  const from = SCRATCH / 4;
  // struct statfs: f_type, f_bsize, then the five that both have, f_fsid, f_namelen, f_frsize; 64
  // bits each.
  host.words.copyWithin(to, from + 4, from + 14);
  host.words[to + 10] = host.words[from + 2]!;
  host.words[to + 11] = host.words[from + 16]!;
  host.words[to + 12] = host.words[from + 18]!;
  if (inode.share.budget !== undefined) putBudget(session, inode.share.budget);
  return KSTATFS_SIZE;
}

/** The share is no larger than its budget, and no emptier than the host's file system. */
function putBudget({ host }: Session, budget: Budget): void {
  const { view, words } = host;
  const at = PAYLOAD;
  const { bytes, files, mostBytes, mostFiles } = budget.read();
  const unit = words[at / 4 + 12] || words[at / 4 + 10] || 1;
  const bound = (offset: number, most: number) => {
    const value = view.getUint32(at + offset, true) + view.getUint32(at + offset + 4, true) * 2 ** 32;
    if (most >= value) return;
    view.setUint32(at + offset, most % 2 ** 32, true);
    view.setUint32(at + offset + 4, Math.floor(most / 2 ** 32), true);
  };
  bound(0, Math.floor(mostBytes / unit));
  for (const free of [8, 16]) bound(free, Math.floor(Math.max(mostBytes - bytes, 0) / unit));
  bound(24, mostFiles);
  bound(32, Math.max(mostFiles - files, 0));
}

/** Makes all writes to the file system durable. */
export function syncfs(session: Session, node: number): number {
  const { host, inodes } = session;
  const root = inodes.get(node)?.share.root;
  if (root === undefined) return 0;
  const isFolder = root.type === S_IFDIR;
  const fd = isFolder ? host.openDirectory(root.fd) : host.reopen(root.fd, fs.O_RDONLY);
  if (fd < 0) return fd;
  const error = host.call(SYS_SYNCFS, fd);
  host.close(fd);
  return error;
}

/**
 * Returns true if the guest may use the extended attribute. `trusted` attributes belong to the
 * host's overlays, and some `security` ones to the host's security modules. Access control lists
 * contain users, which differ if owners are mapped.
 */
function isShared(name: string, { share }: Inode): boolean {
  if (name.startsWith('user.') || name === CAPABILITY) return true;
  return share.owner === undefined && (name === 'system.posix_acl_access' || name === 'system.posix_acl_default');
}

interface Attribute {
  inode: Inode;
  /** A descriptor of the file, open or O_PATH. */
  fd: number;
  /** Address of the attribute's name. */
  name: number;
  /** Offset of the argument after the name. */
  end: number;
}

/** The attribute that a request with its name at `at` means; or the negative errno. */
function attributeOf(session: Session, node: number, at: number, refused: number): Attribute | number {
  const { inodes } = session;
  const length = session.stringLength(at);
  if (length <= 0) return -EINVAL;
  const inode = inodes.get(node);
  if (inode === undefined) return -ESTALE;
  if (!isShared(session.string(at, length), inode)) return -refused;
  const fd = inodes.descriptor(inode);
  if (fd < 0) return fd;
  return { inode, fd, name: session.address(at), end: at + length + 1 };
}

/**
 * `fuse_getxattr_in`: u32 size, padding; name. Answered by the value or, for size 0, by its size.
 */
export function getxattr(session: Session, node: number): number {
  const attribute = attributeOf(session, node, 8, ENODATA);
  if (typeof attribute === 'number') return attribute;
  const { host } = session;
  const size = session.u32(0);
  const room = Math.min(size, MAX_REPLY);
  const { fd, name } = attribute;
  const length = host.onPath(fd, (path) => host.call(SYS_GETXATTR, path, name, host.at(PAYLOAD), room));
  return length >= 0 && size === 0 ? putSize(session, length) : length;
}

/** `struct fuse_getxattr_out`. */
function putSize({ host }: Session, size: number): number {
  host.words[PAYLOAD / 4] = size;
  host.words[PAYLOAD / 4 + 1] = 0;
  return 8;
}

/**
 * `fuse_getxattr_in`: u32 size. Answered by the names, each with its NUL or, for size 0, by their
 * size.
 */
export function listxattr(session: Session, node: number): number {
  const { host, inodes } = session;
  const inode = inodes.get(node);
  if (inode === undefined) return -ESTALE;
  const fd = inodes.descriptor(inode);
  if (fd < 0) return fd;
  const length = host.onPath(fd, (path) => host.call(SYS_LISTXATTR, path, host.at(PAYLOAD), MAX_REPLY));
  if (length < 0) return length;
  let kept = 0;
  for (let at = 0; at < length; ) {
    const end = host.bytes.indexOf(0, PAYLOAD + at) - PAYLOAD + 1;
    if (isShared(session.replyString(at, end - 1 - at), inode)) {
      host.bytes.copyWithin(PAYLOAD + kept, PAYLOAD + at, PAYLOAD + end);
      kept += end - at;
    }
    at = end;
  }
  const size = session.u32(0);
  if (size === 0) return putSize(session, kept);
  return kept > size ? -ERANGE : kept;
}

/** `fuse_setxattr_in`: u32 size, flags, setxattr_flags, padding; name, value. */
export function setxattr(session: Session, node: number): number {
  const inode = session.inodes.get(node);
  const refusal = inode === undefined ? 0 : session.mayChange(inode);
  if (refusal < 0) return refusal;
  const attribute = attributeOf(session, node, 16, EOPNOTSUPP);
  if (typeof attribute === 'number') return attribute;
  const { share } = attribute.inode;
  if (!share.keepSetId && session.string(16, attribute.end - 17) === CAPABILITY) return -EOPNOTSUPP;
  const size = session.u32(0);
  if (attribute.end + size > session.length) return -EINVAL;
  const { host } = session;
  const value = session.address(attribute.end);
  const { fd, name } = attribute;
  const set = (path: number) => host.call(SYS_SETXATTR, path, name, value, size, session.u32(4));
  const act = () => host.onPath(fd, set);
  const { budget } = share;
  const error = budget === undefined ? act() : budget.changeAttribute(attribute.inode, attribute.fd, size, act);
  if (error === 0 && (session.u32(8) & FUSE_SETXATTR_ACL_KILL_SGID) !== 0) dropGroupId(session, attribute.inode);
  return error;
}

/** A caller outside the file's group changed its access control list: clear set-group-ID. */
function dropGroupId({ host, inodes }: Session, inode: Inode): void {
  const fd = inodes.descriptor(inode);
  if (fd < 0 || host.statx(fd) < 0) return;
  const mode = host.stat(STATX_MODE) & 0o7777;
  if ((mode & S_ISGID) !== 0) host.chmod(fd, mode & ~S_ISGID);
}

/** Name. */
export function removexattr(session: Session, node: number): number {
  const inode = session.inodes.get(node);
  const refusal = inode === undefined ? 0 : session.mayChange(inode);
  if (refusal < 0) return refusal;
  const attribute = attributeOf(session, node, 0, EOPNOTSUPP);
  if (typeof attribute === 'number') return attribute;
  const { host } = session;
  const { fd, name } = attribute;
  const act = () => host.onPath(fd, (path) => host.call(SYS_REMOVEXATTR, path, name));
  const { budget } = attribute.inode.share;
  return budget === undefined ? act() : budget.settle(attribute.inode, attribute.fd, act);
}
