// Requests about open directories. The guest's offsets are the host's own cookies, so they stay
// valid while the directory changes.
import { constants } from 'node:os';
import { DIRENT_SIZE, ENTRY_OUT_SIZE, FUSE_FSYNC_FDATASYNC, OPEN_OUT_SIZE, OUT_HEADER_SIZE } from './fuse.js';
import type { OpenFile } from './handles.js';
import {
  DIRENTS,
  MAX_DIRENTS,
  MAX_REPLY,
  PAYLOAD,
  S_IFDIR,
  SYS_FDATASYNC,
  SYS_FSYNC,
  SYS_GETDENTS64,
  SYS_LSEEK,
} from './host.js';
import type { Session } from './session.js';

const { EBADF, EINVAL, ENOTDIR, ESTALE } = constants.errno;

const SEEK_SET = 0;
/** `struct linux_dirent64`: u64 d_ino, s64 d_off, u16 d_reclen, u8 d_type, name. */
const RECORD_NAME = 19;
const DOT = 0x2e;

/**
 * Entries that were read from the host and not sent to the guest yet, of the directory that was
 * read last.
 */
export class DirectoryEntries {
  #owner: OpenFile | undefined;
  #start = 0;
  #end = 0;

  /** Returns true if there are entries of `file` from `position` on. */
  has(file: OpenFile, position: bigint): boolean {
    return this.#owner === file && file.position === position && this.#start < this.#end;
  }

  /**
   * Reads entries of `file` from `position` on; their number in bytes, 0 at the end, or the
   * negative errno.
   */
  read({ host }: Session, file: OpenFile, position: bigint): number {
    // The descriptor is at the end of the entries that were read, the guest at the last entry that
    // it got.
    const moved = host.call(SYS_LSEEK, file.fd, position, SEEK_SET);
    if (moved < 0) return moved;
    const length = host.call(SYS_GETDENTS64, file.fd, host.at(DIRENTS), MAX_DIRENTS);
    this.#owner = file;
    this.#start = 0;
    this.#end = Math.max(length, 0);
    file.position = position;
    return length;
  }

  /** Offset of the next entry in the arena; -1 if there is none. */
  get next(): number {
    return this.#start < this.#end ? DIRENTS + this.#start : -1;
  }

  /** Skips the entry at `at`. */
  take({ host }: Session, file: OpenFile, at: number): void {
    file.position = host.view.getBigInt64(at + 8, true);
    this.#start += host.view.getUint16(at + 16, true);
  }
}

/** `fuse_open_in`: u32 flags. */
export function opendir(session: Session, node: number): number {
  const { host, inodes, handles } = session;
  const inode = inodes.get(node);
  if (inode === undefined) return -ESTALE;
  if (inode.type !== S_IFDIR) return -ENOTDIR;
  const path = inodes.descriptor(inode);
  if (path < 0) return path;
  const fd = host.openDirectory(path);
  if (fd < 0) return fd;
  const handle = handles.add(inode, fd, 0, true);
  if (handle < 0) return handle;
  const to = PAYLOAD / 4;
  host.words.fill(0, to, to + OPEN_OUT_SIZE / 4);
  host.words[to] = handle;
  return OPEN_OUT_SIZE;
}

/** `fuse_release_in`: u64 fh. */
export function releasedir(session: Session): number {
  return session.handles.release(session.u64(0), true);
}

/** `fuse_fsync_in`: u64 fh, u32 fsync_flags. */
export function fsyncdir(session: Session): number {
  const file = session.handles.directory(session.u64(0));
  if (file === undefined) return -EBADF;
  const dataOnly = (session.u32(8) & FUSE_FSYNC_FDATASYNC) !== 0;
  return session.host.call(dataOnly ? SYS_FDATASYNC : SYS_FSYNC, file.fd);
}

/**
 * `fuse_read_in`: u64 fh, offset, u32 size. Answered by entries, with `plus` each after what a
 * lookup of it would say. `room`: bytes for the reply.
 */
export function readdir(session: Session, entries: DirectoryEntries, plus: boolean, room: number): number {
  const file = session.handles.directory(session.u64(0));
  if (file === undefined) return -EBADF;
  const position = session.bigint(8);
  const size = Math.min(session.u32(16), room - OUT_HEADER_SIZE, MAX_REPLY);
  if (!entries.has(file, position)) {
    const length = entries.read(session, file, position);
    if (length <= 0) return length;
  }
  const before = plus ? ENTRY_OUT_SIZE : 0;
  let used = 0;
  for (;;) {
    let at = entries.next;
    if (at < 0) {
      if (used > 0 || entries.read(session, file, file.position) <= 0) break;
      at = entries.next;
    }
    const length = nameLength(session, at);
    const record = before + Math.ceil((DIRENT_SIZE + length) / 8) * 8;
    if (used + record > size) break;
    if (plus) putLookup(session, file, used, at + RECORD_NAME, length);
    putEntry(session, used + before, at, length);
    entries.take(session, file, at);
    used += record;
  }
  return used === 0 && entries.next >= 0 ? -EINVAL : used;
}

function nameLength({ host }: Session, at: number): number {
  return host.bytes.indexOf(0, at + RECORD_NAME) - at - RECORD_NAME;
}

/** Writes `struct fuse_dirent` of the host's entry at `from`. */
function putEntry({ host }: Session, at: number, from: number, length: number): void {
  const { words, bytes } = host;
  const to = (PAYLOAD + at) / 4;
  words.copyWithin(to, from / 4, from / 4 + 4);
  words[to + 4] = length;
  words[to + 5] = bytes[from + 18]!;
  const name = PAYLOAD + at + DIRENT_SIZE;
  bytes.copyWithin(name, from + RECORD_NAME, from + RECORD_NAME + length);
  bytes.fill(0, name + length, Math.ceil((name + length) / 8) * 8);
}

/**
 * Writes the result of a lookup of the name. With node 0, the guest gets the name only, and looks
 * it up when needed.
 */
function putLookup(session: Session, file: OpenFile, at: number, name: number, length: number): void {
  const { host, inodes } = session;
  const { bytes, words } = host;
  const to = (PAYLOAD + at) / 4;
  words.fill(0, to, to + ENTRY_OUT_SIZE / 4);
  if (bytes[name] === DOT && (length === 1 || (length === 2 && bytes[name + 1] === DOT))) return;
  if (host.statxName(file.fd, host.at(name)) < 0) return;
  const inode = inodes.adopt(file.inode, session.replyString(name - PAYLOAD, length));
  if (inode !== undefined) session.putEntry(at, inode);
}
