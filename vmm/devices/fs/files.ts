// Requests about open regular files. Bytes go between the file and guest memory directly.
import { constants as fs } from 'node:fs';
import { constants } from 'node:os';
import * as libc from '../../host/libc.js';
import type { DescriptorChain } from '../../virtio/queue.js';
import {
  ENTRY_OUT_SIZE,
  FOPEN_KEEP_CACHE,
  FUSE_FSYNC_FDATASYNC,
  FUSE_OPEN_KILL_SUIDGID,
  FUSE_WRITE_CACHE,
  FUSE_WRITE_KILL_SUIDGID,
  IN_HEADER_SIZE,
  OPEN_OUT_SIZE,
  OUT_HEADER_SIZE,
  WRITE_IN_SIZE,
} from './fuse.js';
import {
  PAYLOAD,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  S_ISGID,
  S_ISUID,
  S_IXGRP,
  STATX_CTIME,
  STATX_MODE,
  STATX_MTIME,
  STATX_SIZE,
  SYS_FALLOCATE,
  SYS_FDATASYNC,
  SYS_FSYNC,
  SYS_LSEEK,
  SYS_PREADV2,
  SYS_PWRITEV2,
} from './host.js';
import { fileMode, type Inode } from './inode.js';
import type { Session } from './session.js';
import { KEPT_FLAGS } from './state.js';

const { EBADF, EEXIST, EFBIG, EINVAL, EISDIR, ELOOP, ENFILE, ENXIO, EROFS, ESTALE } = constants.errno;

const ACCESS_MODE = 3;
/**
 * The guest's flags that the host uses. O_APPEND comes with each write, and O_DIRECT concerns the
 * guest only.
 */
const HOST_FLAGS = fs.O_TRUNC | fs.O_DSYNC | fs.O_SYNC;
/** The bit of O_SYNC that O_DSYNC does not have. */
const FILE_SYNC = fs.O_SYNC & ~fs.O_DSYNC;

// pwritev2(2)
const RWF_DSYNC = 2;
const RWF_SYNC = 4;
const RWF_APPEND = 0x10;

const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_COLLAPSE_RANGE = 8;

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Seconds after which any change shows in a file's times, however coarse they are. */
const SETTLED = 2;

/** Returns 0 if the guest may open the file with these flags, or the negative errno. */
function mayOpen(session: Session, inode: Inode, flags: number): number {
  if ((flags & ACCESS_MODE) === ACCESS_MODE) return -EINVAL;
  return isWriting(flags) ? session.mayChange(inode) : 0;
}

/**
 * Opens the regular file of an inode. Refuses devices and FIFOs, which the guest's kernel handles
 * itself.
 */
function openFile(session: Session, inode: Inode, flags: number): number {
  if (inode.type !== S_IFREG) return inode.type === S_IFDIR ? -EISDIR : inode.type === S_IFLNK ? -ELOOP : -ENXIO;
  const path = session.inodes.descriptor(inode);
  if (path < 0) return path;
  const act = () => session.host.reopen(path, (flags & (ACCESS_MODE | HOST_FLAGS)) >>> 0);
  const { budget } = inode.share;
  const fd = budget === undefined || (flags & fs.O_TRUNC) === 0 ? act() : budget.shrink(inode, path, act);
  if (fd >= 0 && isWriting(flags)) clearSetId(session, inode, fd);
  return fd;
}

function isWriting(flags: number): boolean {
  return (flags & ACCESS_MODE) !== fs.O_RDONLY || (flags & fs.O_TRUNC) !== 0;
}

/**
 * Writes `struct fuse_open_out` at `at` of the payload, and takes ownership of `fd`. Returns its
 * size or the negative errno.
 * @param keep the guest's page cache of the file is still valid
 */
function putOpen(session: Session, at: number, inode: Inode, fd: number, flags: number, keep: boolean): number {
  const handle = session.handles.add(inode, fd, flags & KEPT_FLAGS, false);
  if (handle < 0) return handle;
  const { words } = session.host;
  const to = (PAYLOAD + at) / 4;
  words.fill(0, to, to + OPEN_OUT_SIZE / 4);
  words[to] = handle;
  words[to + 2] = keep ? FOPEN_KEEP_CACHE : 0;
  return OPEN_OUT_SIZE;
}

/**
 * Returns true if the file has not changed since the guest last opened it, so that the guest's page
 * cache is valid. A file that changed moments ago could change again within the resolution of its
 * times, so it counts as changed next time.
 */
function isUnchanged({ host }: Session, inode: Inode, fd: number): boolean {
  if (host.statx(fd) < 0) return false;
  const of = (word: number) => host.stat(word);
  const size = of(STATX_SIZE) + of(STATX_SIZE + 1) * 2 ** 32;
  const stamp = `${size} ${of(STATX_MTIME)} ${of(STATX_MTIME + 2)} ${of(STATX_CTIME)} ${of(STATX_CTIME + 2)}`;
  const unchanged = inode.stamp === stamp;
  const age = libc.now() / 1000 - of(STATX_CTIME);
  inode.stamp = age >= SETTLED ? stamp : '';
  return unchanged;
}

/** `fuse_open_in`: u32 flags, open_flags. */
export function open(session: Session, node: number): number {
  const inode = session.inodes.get(node);
  if (inode === undefined) return -ESTALE;
  const flags = session.u32(0);
  const refusal = mayOpen(session, inode, flags);
  if (refusal < 0) return refusal;
  const fd = openFile(session, inode, flags);
  if (fd < 0) return fd;
  if ((session.u32(4) & FUSE_OPEN_KILL_SUIDGID) !== 0) killSetId(session, inode, fd);
  return putOpen(session, 0, inode, fd, flags, isUnchanged(session, inode, fd));
}

/**
 * `fuse_create_in`: u32 flags, mode, umask, open_flags; name. Answered by an entry and an open
 * file.
 */
export function create(session: Session, node: number): number {
  const { host, inodes } = session;
  const parent = inodes.get(node);
  if (parent === undefined) return -ESTALE;
  const length = session.nameLength(16);
  if (length < 0) return length;
  const refusal = session.mayChange(parent);
  if (refusal < 0) return refusal;
  const flags = session.u32(0);
  if ((flags & ACCESS_MODE) === ACCESS_MODE) return -EINVAL;
  const directory = inodes.descriptor(parent);
  if (directory < 0) return directory;
  const name = session.address(16);
  const mode = host.masked(directory, fileMode(parent.share, session.u32(4)), session.u32(8));
  const make = () => host.create(directory, name, mode);
  const act = () => host.as(session.uid, session.gid, make);
  const { budget } = parent.share;
  let fd = budget === undefined ? act() : budget.add(directory, name, true, act);
  const exists = fd === -EEXIST && (flags & fs.O_EXCL) === 0;
  const error = exists ? host.statxName(directory, name) : fd < 0 ? fd : host.statx(fd);
  if (error < 0) {
    if (fd >= 0) host.close(fd);
    return error;
  }
  const inode = inodes.adopt(parent, session.string(16, length));
  if (inode === undefined) {
    if (fd >= 0) host.close(fd);
    return -ENFILE;
  }
  // The file exists already: it is opened like any other file.
  if (exists) fd = openFile(session, inode, flags);
  const keep = exists && fd >= 0 && isUnchanged(session, inode, fd);
  const opened = fd < 0 ? fd : putOpen(session, ENTRY_OUT_SIZE, inode, fd, flags, keep);
  if (opened < 0) {
    // The guest does not learn of the inode.
    inodes.forget(inode.node, 0);
    return opened;
  }
  // STATX is the open file's.
  return session.putEntry(0, inode) + opened;
}

/**
 * `fuse_create_in` for O_TMPFILE: u32 flags, mode, umask, open_flags; `/` in place of a name.
 * Answered as {@link create}. FUSE_LINK may give the file a name later.
 */
export function createUnnamed(session: Session, node: number): number {
  const { host, inodes } = session;
  const directory = inodes.get(node);
  if (directory === undefined) return -ESTALE;
  const refusal = session.mayChange(directory);
  if (refusal < 0) return refusal;
  const flags = session.u32(0);
  // As of open(2): such a file is written, unless it is opened again.
  if ((flags & ACCESS_MODE) === fs.O_RDONLY || (flags & ACCESS_MODE) === ACCESS_MODE) return -EINVAL;
  const directoryFd = inodes.descriptor(directory);
  if (directoryFd < 0) return directoryFd;
  const mode = host.masked(directoryFd, fileMode(directory.share, session.u32(4)), session.u32(8));
  const make = () => host.createUnnamed(directoryFd, mode);
  const act = () => host.as(session.uid, session.gid, make);
  const { budget } = directory.share;
  const fd = budget === undefined ? act() : budget.add(directoryFd, 0, true, act);
  if (fd < 0) return fd;
  const error = host.statx(fd);
  const inode = error < 0 ? undefined : inodes.adoptUnnamed(directory.share);
  if (inode === undefined) {
    budget?.undo(fd);
    host.close(fd);
    return error < 0 ? error : -ENFILE;
  }
  budget?.hold(inode, fd);
  const opened = putOpen(session, ENTRY_OUT_SIZE, inode, fd, flags, false);
  if (opened < 0) {
    // The guest does not learn of the inode.
    inodes.forget(inode.node, 0);
    return opened;
  }
  return session.putEntry(0, inode) + opened;
}

/**
 * Clears set-user-ID and set-group-ID of a file that the guest may now fill, unless the share keeps
 * them: another user of the host could run it.
 */
export function clearSetId({ host }: Session, { share }: Inode, fd: number): void {
  if (share.keepSetId || host.statx(fd) < 0) return;
  const mode = host.stat(STATX_MODE) & 0o7777;
  const left = mode & ~(S_ISUID | S_ISGID);
  if (left !== mode) host.chmod(fd, left);
}

/**
 * Clears set-user-ID and set-group-ID, as the kernel does when an unprivileged user changes a file
 * (FUSE_HANDLE_KILLPRIV_V2). If this process has no privileges, the host's kernel does that anyway.
 */
export function killSetId({ host }: Session, inode: Inode, fd: number): void {
  if (inode.share.owner !== undefined || host.statx(fd) < 0) return;
  const mode = host.stat(STATX_MODE) & 0o7777;
  const groupToo = (mode & (S_ISGID | S_IXGRP)) === (S_ISGID | S_IXGRP);
  const left = mode & ~(groupToo ? S_ISUID | S_ISGID : S_ISUID);
  if (left !== mode) host.chmod(fd, left);
}

/** `fuse_release_in`: u64 fh. */
export function release({ handles, inodes }: Session, handle: number): number {
  const file = handles.file(handle);
  const budget = file?.inode.share.budget;
  if (file === undefined || budget === undefined || !isWriting(file.flags)) return handles.release(handle, false);
  // The host may take back blocks that it reserved while the file was open.
  inodes.hold(file.inode);
  const { fd } = file.inode;
  const act = () => handles.release(handle, false);
  // The guest may have forgotten the file before.
  return fd < 0 ? act() : inodes.keep(file.inode, () => budget.settle(file.inode, fd, act));
}

/**
 * `fuse_read_in`: u64 fh, offset, u32 size. The bytes are put behind the reply's header in the
 * chain; returns how many, or the negative errno.
 */
export function read(session: Session, { writable }: DescriptorChain): number {
  const file = session.handles.file(session.u64(0));
  if (file === undefined) return -EBADF;
  const offset = session.u64(8);
  if (offset > Number.MAX_SAFE_INTEGER) return -EINVAL;
  const size = Math.min(session.u32(16), writable.length - OUT_HEADER_SIZE);
  const { host } = session;
  const count = writable.iovecs(OUT_HEADER_SIZE, size, host.iovecs);
  return host.call(SYS_PREADV2, file.fd, host.iovecsAddress, count, offset, 0, 0);
}

/**
 * `fuse_write_in`: u64 fh, offset, u32 size, write_flags, u64 lock_owner, u32 flags; the bytes,
 * still in the chain.
 */
export function write(session: Session, { readable }: DescriptorChain): number {
  const file = session.handles.file(session.u64(0));
  if (file === undefined) return -EBADF;
  const offset = session.u64(8);
  const size = session.u32(16);
  const start = IN_HEADER_SIZE + WRITE_IN_SIZE;
  if (size > readable.length - start) return -EINVAL;
  if (offset + size > Number.MAX_SAFE_INTEGER) return -EFBIG;
  if (file.inode.share.readOnly) return -EROFS;
  const flags = session.u32(20);
  const { host } = session;
  const how = writeFlags(session.u32(32), flags);
  const act = (length: number) => {
    const count = readable.iovecs(start, length, host.iovecs);
    return host.call(SYS_PWRITEV2, file.fd, host.iovecsAddress, count, offset, 0, how);
  };
  const { budget } = file.inode.share;
  const at = (how & RWF_APPEND) !== 0 ? undefined : offset;
  // The guest's kernel takes a page that was written in part for written.
  const whole = (flags & FUSE_WRITE_CACHE) !== 0;
  const written = budget === undefined ? act(size) : budget.write(file.inode, file.fd, at, size, whole, act);
  if (written < 0) return written;
  if ((flags & FUSE_WRITE_KILL_SUIDGID) !== 0) killSetId(session, file.inode, file.fd);
  const to = PAYLOAD / 4;
  host.words[to] = written;
  host.words[to + 1] = 0;
  return 8;
}

/**
 * pwritev2's flags for the guest's open flags at the time of the write: fcntl(2) may have changed
 * O_APPEND.
 */
function writeFlags(openFlags: number, flags: number): number {
  // A write from the page cache has a fixed offset, whatever flags the handle has.
  if ((flags & FUSE_WRITE_CACHE) !== 0) return 0;
  const append = (openFlags & fs.O_APPEND) !== 0 ? RWF_APPEND : 0;
  if ((openFlags & FILE_SYNC) !== 0) return append | RWF_SYNC;
  return (openFlags & fs.O_DSYNC) !== 0 ? append | RWF_DSYNC : append;
}

/** `fuse_fsync_in`: u64 fh, u32 fsync_flags. */
export function fsync(session: Session): number {
  const file = session.handles.file(session.u64(0));
  if (file === undefined) return -EBADF;
  const dataOnly = (session.u32(8) & FUSE_FSYNC_FDATASYNC) !== 0;
  return session.host.call(dataOnly ? SYS_FDATASYNC : SYS_FSYNC, file.fd);
}

/** `fuse_fallocate_in`: u64 fh, offset, length, u32 mode. */
export function fallocate(session: Session): number {
  const file = session.handles.file(session.u64(0));
  if (file === undefined) return -EBADF;
  const refusal = session.mayChange(file.inode);
  if (refusal < 0) return refusal;
  const offset = session.u64(8);
  const length = session.u64(16);
  if (offset + length > Number.MAX_SAFE_INTEGER) return -EFBIG;
  const mode = session.u32(24);
  const act = () => session.host.call(SYS_FALLOCATE, file.fd, mode, offset, length);
  const { budget } = file.inode.share;
  const shrinks = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE)) !== 0;
  const counted = shrinks
    ? budget?.shrink(file.inode, file.fd, act)
    : budget?.grow(file.inode, file.fd, { offset, length }, act);
  const error = counted ?? act();
  // The guest's kernel leaves that to the device, and does not say who may keep them.
  if (error === 0 && session.uid !== 0) killSetId(session, file.inode, file.fd);
  return error;
}

/** `fuse_lseek_in`: u64 fh, offset, u32 whence. The host handles SEEK_DATA and SEEK_HOLE only. */
export function lseek(session: Session): number {
  const file = session.handles.file(session.u64(0));
  if (file === undefined) return -EBADF;
  const offset = session.u64(8);
  const whence = session.u32(16);
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL;
  if (offset > Number.MAX_SAFE_INTEGER) return -ENXIO;
  const found = session.host.call(SYS_LSEEK, file.fd, offset, whence);
  if (found < 0) return found;
  const to = PAYLOAD / 4;
  session.host.words[to] = found % 2 ** 32;
  session.host.words[to + 1] = Math.floor(found / 2 ** 32);
  return 8;
}
