// The host's system calls on files: by descriptor and one name, with arguments in memory outside
// JavaScript's heap, so that a call allocates nothing. Paths other than one name, and ways to open, are
// fixed (host/fixed-arguments.ts). A result is the kernel's: a number, or the negative errno.
import { constants } from 'node:os';
import {
  EMPTY_PATH,
  fixedArguments,
  HOW_DIRECTORY,
  HOW_PATH,
  HOW_SIZE,
  howToCreate,
  howToReopen,
  SLOT_PATH,
} from '../../host/fixed-arguments.js';
import * as libc from '../../host/libc.js';
import { setIovec } from '../../virtio/buffers.js';
import { OUT_HEADER_SIZE } from './fuse.js';

const { EINTR } = constants.errno;

// System calls of x86-64.
export const SYS_LSEEK = 8;
export const SYS_IOCTL = 16;
export const SYS_FSYNC = 74;
export const SYS_FDATASYNC = 75;
export const SYS_FTRUNCATE = 77;
const SYS_SETFSUID = 122;
const SYS_SETFSGID = 123;
export const SYS_FSTATFS = 138;
const SYS_PRCTL = 157;
export const SYS_SETXATTR = 188;
export const SYS_GETXATTR = 191;
export const SYS_LISTXATTR = 194;
export const SYS_REMOVEXATTR = 197;
export const SYS_GETDENTS64 = 217;
export const SYS_MKDIRAT = 258;
export const SYS_MKNODAT = 259;
export const SYS_FCHOWNAT = 260;
export const SYS_UNLINKAT = 263;
export const SYS_LINKAT = 265;
export const SYS_SYMLINKAT = 266;
export const SYS_READLINKAT = 267;
const SYS_FCHMODAT = 268;
export const SYS_UTIMENSAT = 280;
export const SYS_FALLOCATE = 285;
export const SYS_PREADV2 = 327;
export const SYS_SYNCFS = 306;
export const SYS_RENAMEAT2 = 316;
export const SYS_PWRITEV2 = 328;
const SYS_DUP3 = 292;
const SYS_STATX = 332;
const SYS_OPENAT2 = 437;

export const AT_FDCWD = -100;
export const AT_REMOVEDIR = 0x200;
export const AT_SYMLINK_FOLLOW = 0x400;
const AT_NO_AUTOMOUNT = 0x800;
export const AT_EMPTY_PATH = 0x1000;

const STATX_BASIC_STATS_AND_BTIME = 0xfff;

export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFIFO = 0o010000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
const S_ISVTX = 0o1000;
export const S_IXGRP = 0o010;

const PR_GET_SECUREBITS = 27;
const PR_SET_SECUREBITS = 28;
/** Keeps capabilities when the file system user changes. */
const SECBIT_NO_SETUID_FIXUP = 1 << 2;

/** The longest request except writes: headers, a name, an extended attribute's value. */
export const MAX_REQUEST = 68 * 1024;
/** The longest reply except reads, without its header: an extended attribute's value. */
export const MAX_REPLY = 64 * 1024;
export const MAX_DIRENTS = 32 * 1024;
/** Buffers of a request: 1 MiB in pages, and headers. */
export const MAX_IOVECS = 512;

// The arena, in bytes.
export const REQUEST = 0;
export const REPLY = MAX_REQUEST + 4096;
/** The payload of the reply, behind its header. */
export const PAYLOAD = REPLY + OUT_HEADER_SIZE;
export const DIRENTS = REPLY + MAX_REPLY + 4096;
const IOVECS = DIRENTS + MAX_DIRENTS;
/** `struct statx` of the last {@link Host.statx} or {@link Host.statxName}. */
export const STATX = IOVECS + MAX_IOVECS * 16;
/** `struct statfs`, `struct timespec[2]`, or another argument of one call. */
export const SCRATCH = STATX + 256;
const DOT = SCRATCH + 256;
const DEFAULT_ACL = DOT + 8;
const NAME = DEFAULT_ACL + 32;
/** What a copy is read into. */
export const COPY = NAME + 512;
export const COPY_SIZE = 256 * 1024;
const ARENA_SIZE = COPY + COPY_SIZE;

// `struct statx` in 32-bit words, from its start.
export const STATX_BLKSIZE = 1;
export const STATX_NLINK = 4;
export const STATX_UID = 5;
export const STATX_GID = 6;
export const STATX_MODE = 7;
export const STATX_INO = 8;
export const STATX_SIZE = 10;
export const STATX_BLOCKS = 12;
export const STATX_ATIME = 16;
export const STATX_BTIME = 20;
export const STATX_CTIME = 24;
export const STATX_MTIME = 28;
export const STATX_RDEV_MAJOR = 32;
export const STATX_RDEV_MINOR = 33;
export const STATX_DEV_MAJOR = 34;
export const STATX_DEV_MINOR = 35;
/** The first word of the last stat. */
export const STATX_WORD = STATX / 4;

type Argument = number | bigint;

/** System calls with an arena of memory for what they read and write. */
export class Host implements Disposable {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly view: DataView;
  /** `struct iovec` for {@link MAX_IOVECS} buffers. */
  readonly iovecs: Uint32Array;
  readonly iovecsAddress: number;
  readonly #address: number;
  readonly #fixed = fixedArguments();
  /**
   * This thread's securebits, and those that keep its capabilities while it creates files as
   * another user.
   */
  readonly #securebits: number;
  readonly #keepingBits: number;
  /** True if files can be created as any user. */
  readonly canSwitchUser: boolean;

  /** @throws libc.SystemError if the host has no memory or no /proc */
  constructor() {
    const prot = libc.PROT_READ | libc.PROT_WRITE;
    const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS;
    this.#address = libc.check(libc.mmap(null, ARENA_SIZE, prot, flags, -1, 0), 'mmap');
    const buffer = libc.viewMemory(this.#address, ARENA_SIZE);
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
    this.view = new DataView(buffer);
    this.iovecs = new Uint32Array(buffer, IOVECS, MAX_IOVECS * 4);
    this.iovecsAddress = this.#address + IOVECS;
    this.bytes[DOT] = 0x2e;
    this.bytes.set(Buffer.from('system.posix_acl_default'), DEFAULT_ACL);
    this.#securebits = this.call(SYS_PRCTL, PR_GET_SECUREBITS);
    this.#keepingBits = this.#securebits | SECBIT_NO_SETUID_FIXUP;
    this.canSwitchUser = this.#trySwitchUser();
  }

  #trySwitchUser(): boolean {
    if (this.call(SYS_PRCTL, PR_SET_SECUREBITS, this.#keepingBits) < 0) return false;
    this.call(SYS_SETFSUID, 1);
    // setfsuid returns the previous user, not whether it succeeded. Root's machine process may have a
    // user of its own: this thread accesses files as root.
    const switched = this.call(SYS_SETFSUID, 0) === 1;
    this.call(SYS_SETFSGID, 0);
    this.call(SYS_PRCTL, PR_SET_SECUREBITS, this.#securebits);
    this.#endWithParent();
    return switched;
  }

  /** A change of the user clears the parent-death signal (prctl(2)). */
  #endWithParent(): void {
    this.call(SYS_PRCTL, libc.PR_SET_PDEATHSIG, libc.SIGKILL);
  }

  /**
   * A word of the last {@link statx}: `STATX_SIZE`, or `STATX_SIZE + 1` for the upper half of 64
   * bits.
   */
  stat(word: number): number {
    // The arena has all words of `struct statx`.
    return this.words[STATX_WORD + word]!;
  }

  /** A word of the header of the request that is served: `IN_UID`. */
  request(word: number): number {
    return this.words[REQUEST / 4 + word]!;
  }

  /** The address of a byte of the arena. */
  at(offset: number): number {
    return this.#address + offset;
  }

  /** The address of an iovec of a part of the arena, until the next call that takes iovecs. */
  iovecOf(offset: number, length: number): number {
    setIovec(this.iovecs, this.at(offset), length);
    return this.iovecsAddress;
  }

  /** Makes a system call, and repeats it after EINTR. */
  call(
    number: number,
    a: Argument = 0,
    b: Argument = 0,
    c: Argument = 0,
    d: Argument = 0,
    e: Argument = 0,
    f: Argument = 0,
  ): number {
    for (;;) {
      const result = libc.syscall(number, a, b, c, d, e, f);
      if (result >= 0) return result;
      const errno = libc.errno();
      if (errno !== EINTR) return -errno;
    }
  }

  /** Writes a name, bytes as Latin-1, to the arena. Returns its address. */
  name(name: string): number {
    for (let index = 0; index < name.length; index++) this.bytes[NAME + index] = name.charCodeAt(index);
    this.bytes[NAME + name.length] = 0;
    return this.#address + NAME;
  }

  /** Calls `act` with the address of a path of what `fd` stands for, for the calls that take no descriptor. */
  onPath(fd: number, act: (path: number) => number): number {
    const { slot, neutral } = this.#fixed;
    const error = this.call(SYS_DUP3, fd, slot, libc.O_CLOEXEC);
    if (error < 0) return error;
    try {
      return act(SLOT_PATH);
    } finally {
      // A file that is held there would keep its blocks.
      this.call(SYS_DUP3, neutral, slot, libc.O_CLOEXEC);
    }
  }

  /**
   * The file `name` of the directory `parent`, for its attributes and as a parent only; links are
   * not followed.
   */
  openPath(parent: number, name: number): number {
    return this.#openat2(parent, name, HOW_PATH);
  }

  /** Creates and opens the regular file `name` in `parent`. Fails if it exists. */
  create(parent: number, name: number, mode: number): number {
    return this.#withMode(this.#openat2(parent, name, howToCreate(mode, true)), mode);
  }

  /** Creates and opens a regular file without a name, on the file system of `directory`. */
  createUnnamed(directory: number, mode: number): number {
    return this.#withMode(this.#openat2(directory, this.#address + DOT, howToCreate(mode, false)), mode);
  }

  /** Adds what a new file has of its mode beside the permissions. */
  #withMode(fd: number, mode: number): number {
    const special = mode & (S_ISUID | S_ISGID | S_ISVTX);
    if (fd < 0 || special === 0) return fd;
    let error = this.statx(fd);
    if (error === 0) error = this.chmod(fd, (this.stat(STATX_MODE) & 0o7777) | special);
    if (error === 0) return fd;
    this.close(fd);
    return error;
  }

  #openat2(parent: number, name: number, how: number): number {
    return this.call(SYS_OPENAT2, parent, name, how, HOW_SIZE);
  }

  /** Opens the directory that an O_PATH descriptor stands for. */
  openDirectory(fd: number): number {
    return this.#openat2(fd, this.#address + DOT, HOW_DIRECTORY);
  }

  /** Opens the regular file of an O_PATH descriptor. The caller has checked its type. */
  reopen(fd: number, flags: number): number {
    return this.onPath(fd, (path) => this.#openat2(AT_FDCWD, path, howToReopen(flags)));
  }

  /** Changes the mode of what `fd` stands for, which is no link. */
  chmod(fd: number, mode: number): number {
    return this.onPath(fd, (path) => this.call(SYS_FCHMODAT, AT_FDCWD, path, mode));
  }

  /** Fills {@link STATX} with what `fd` stands for. */
  statx(fd: number): number {
    return this.call(
      SYS_STATX,
      fd,
      EMPTY_PATH,
      AT_EMPTY_PATH | AT_NO_AUTOMOUNT,
      STATX_BASIC_STATS_AND_BTIME,
      this.#address + STATX,
    );
  }

  /**
   * Fills {@link STATX} with the file `name`, one name, of the directory `parent`; links are not
   * followed.
   */
  statxName(parent: number, name: number): number {
    const fd = this.openPath(parent, name);
    if (fd < 0) return fd;
    const error = this.statx(fd);
    this.close(fd);
    return error;
  }

  /**
   * The mode of a new file in the directory `parent` whose creator has this umask: a default access
   * control list takes the place of the umask (acl(5)). The machine process has umask 0.
   */
  masked(parent: number, mode: number, umask: number): number {
    const bits = umask & 0o777;
    if ((mode & bits) === 0) return mode;
    const length = this.onPath(parent, (path) => this.call(SYS_GETXATTR, path, this.#address + DEFAULT_ACL, 0, 0));
    return length > 0 ? mode : mode & ~bits;
  }

  /** Runs `act`, which creates files, as a user, if {@link canSwitchUser}. */
  as(uid: number, gid: number, act: () => number): number {
    const switches = this.canSwitchUser && (uid !== 0 || gid !== 0);
    if (switches) {
      this.call(SYS_PRCTL, PR_SET_SECUREBITS, this.#keepingBits);
      this.call(SYS_SETFSGID, gid);
      this.call(SYS_SETFSUID, uid);
    }
    try {
      return act();
    } finally {
      if (switches) {
        this.call(SYS_SETFSUID, 0);
        this.call(SYS_SETFSGID, 0);
        // Child processes must not inherit it: they would keep capabilities that they mean to drop.
        this.call(SYS_PRCTL, PR_SET_SECUREBITS, this.#securebits);
        this.#endWithParent();
      }
    }
  }

  close(fd: number): void {
    libc.close(fd);
  }

  [Symbol.dispose](): void {
    libc.munmap(this.#address, ARENA_SIZE);
  }
}
