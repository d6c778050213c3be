// System calls on names in directories. A name is bytes, one character of a string each (Latin-1),
// and each call takes the descriptor of its directory. A negative result is an errno. The constants
// are Linux's (x86-64).
import { loadLibc } from './index.js';

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
export const EXDEV = 18;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const ENOTEMPTY = 39;
export const ELOOP = 40;

export const DT_UNKNOWN = 0;
export const DT_DIR = 4;

export const STATX_ATTR_IMMUTABLE = 0x10;
export const STATX_ATTR_APPEND = 0x20;

const SYS_OPENAT = 257;
const SYS_UNLINKAT = 263;
const SYS_CLOSE = 3;
const SYS_LSEEK = 8;
const SYS_FCHMOD = 91;
const SYS_FCHMODAT = 268;
const SYS_GETDENTS64 = 217;
const SYS_STATX = 332;
const SYS_OPENAT2 = 437;

const AT_FDCWD = -100;
const AT_REMOVEDIR = 0x200;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
const O_DIRECTORY = 0o200000;
const O_NOFOLLOW = 0o400000;
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
/** No mount crossed, no magic link, no link, not out of the directory. */
const RESOLVE = 0x01 | 0x02 | 0x04 | 0x08;
const STATX_TYPE_NLINK_INO_BLOCKS = 0x1 | 0x4 | 0x100 | 0x400;

const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;

// The arena: what system calls read and write.
const ENTRIES = 0;
/** Some 500 names: a walk pauses after them if its time is over. */
const ENTRIES_SIZE = 16 * 1024;
const STATX = ENTRIES_SIZE;
const HOW = STATX + 256;
const NAME = HOW + 24;
/** Bytes of a path with its NUL (PATH_MAX). */
const NAME_SIZE = 4096;
const ARENA_SIZE = NAME + NAME_SIZE;

// `struct linux_dirent64`
const RECORD_LENGTH = 16;
const RECORD_TYPE = 18;
const RECORD_NAME = 19;

/** What statx tells of a file. */
export interface FileStatus {
  isDirectory: boolean;
  links: number;
  /** Bytes on the disk. */
  size: number;
  /** Device and inode. */
  identity: string;
  /** `STATX_ATTR_*` */
  attributes: number;
}

/** Is given each name of a directory: its address is valid until the next entry. */
export type EntryVisitor = (address: number, type: number) => void;

/** System calls with one arena. It is never freed: the calls are synchronous and share one. */
export class DirectoryCalls {
  readonly #syscall: (...args: number[]) => number;
  readonly #errno: Int32Array;
  readonly #address: number;
  readonly #bytes: Buffer;

  constructor() {
    const { koffi, library, errno } = loadLibc();
    this.#errno = errno;
    this.#syscall = library.func('syscall', 'long', Array(7).fill('long'));
    const mmap = library.func('mmap', 'long', ['void *', 'size_t', 'int', 'int', 'int', 'long']);
    this.#address = mmap(null, ARENA_SIZE, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (this.#address < 0) throw new Error('mmap: no memory');
    this.#bytes = Buffer.from(koffi.view(this.#address, ARENA_SIZE));
  }

  #call(number: number, a: number, b = 0, c = 0, d = 0, e = 0): number {
    for (;;) {
      const result = this.#syscall(number, a, b, c, d, e, 0);
      if (result >= 0) return result;
      const errno = this.#errno[0] ?? 0;
      if (errno !== EINTR) return -errno;
    }
  }

  /** Puts a name into the arena. Returns its address. */
  put(name: string): number {
    if (name.length >= NAME_SIZE) throw new RangeError('a path is too long');
    this.#bytes[NAME + this.#bytes.write(name, NAME, 'latin1')] = 0;
    return this.#address + NAME;
  }

  /** The name at an address that a visitor was given. */
  nameAt(address: number): string {
    const start = address - this.#address;
    return this.#bytes.toString('latin1', start, this.#bytes.indexOf(0, start));
  }

  /** Opens a folder of the host by a path of ours, as a parent only. Links are followed. */
  openParent(path: string): number {
    return this.#call(SYS_OPENAT, AT_FDCWD, this.put(path), O_PATH | O_DIRECTORY | O_CLOEXEC);
  }

  /** Opens the folder `name` for reading. EXDEV if another file system is mounted there. */
  openFolder(parent: number, name: string): number {
    return this.#openat2(parent, this.put(name), O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  }

  /** Opens the parent of a folder for reading. */
  openAbove(fd: number): number {
    return this.#call(SYS_OPENAT, fd, this.put('..'), O_DIRECTORY | O_CLOEXEC);
  }

  #openat2(parent: number, name: number, flags: number): number {
    this.#bytes.fill(0, HOW, HOW + 24);
    this.#bytes.writeUInt32LE(flags >>> 0, HOW);
    this.#bytes.writeUInt32LE(RESOLVE, HOW + 16);
    return this.#call(SYS_OPENAT2, parent, name, this.#address + HOW, 24);
  }

  close(fd: number): void {
    this.#call(SYS_CLOSE, fd);
  }

  /** Removes a name that is no folder. */
  unlink(parent: number, name: number): number {
    return this.#call(SYS_UNLINKAT, parent, name);
  }

  /** Removes an empty folder. */
  removeFolder(parent: number, name: string): number {
    return this.#call(SYS_UNLINKAT, parent, this.put(name), AT_REMOVEDIR);
  }

  /** Gives the owner all rights to an open folder. */
  open(fd: number): number {
    return this.#call(SYS_FCHMOD, fd, 0o700);
  }

  /** Gives the owner all rights to the folder `name`, which need not be readable. */
  openNamed(parent: number, name: string): number {
    const fd = this.#openat2(parent, this.put(name), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fd;
    try {
      // fchmod(2) does not take O_PATH descriptors.
      return this.#call(SYS_FCHMODAT, AT_FDCWD, this.put(`/proc/self/fd/${fd}`), 0o700);
    } finally {
      this.close(fd);
    }
  }

  /** Returns the status of `name`, an errno if it cannot be told. Links are not followed. */
  status(parent: number, name: number): FileStatus | number {
    return this.#statx(parent, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT);
  }

  /** Returns the status of an open file. */
  statusOf(fd: number): FileStatus | number {
    return this.#statx(fd, this.put(''), AT_EMPTY_PATH);
  }

  #statx(fd: number, name: number, flags: number): FileStatus | number {
    const result = this.#call(SYS_STATX, fd, name, flags, STATX_TYPE_NLINK_INO_BLOCKS, this.#address + STATX);
    if (result < 0) return result;
    const word = (index: number) => this.#bytes.readUInt32LE(STATX + 4 * index);
    return {
      attributes: word(2),
      links: word(4),
      isDirectory: (this.#bytes.readUInt16LE(STATX + 28) & 0o170000) === 0o040000,
      size: (word(12) + word(13) * 2 ** 32) * 512,
      identity: `${word(34)}:${word(35)}:${word(9)}:${word(8)}`,
    };
  }

  /**
   * Reads some entries of a folder from where it stands. Returns a positive number, 0 at the end, or
   * an errno.
   */
  readSome(fd: number, visit: EntryVisitor): number {
    const length = this.#call(SYS_GETDENTS64, fd, this.#address + ENTRIES, ENTRIES_SIZE);
    // A folder that was removed meanwhile has no entries.
    if (length <= 0) return length === -ENOENT ? 0 : length;
    for (let at = ENTRIES; at < ENTRIES + length; at += this.#bytes.readUInt16LE(at + RECORD_LENGTH)) {
      const name = at + RECORD_NAME;
      const isDots =
        this.#bytes[name] === 0x2e &&
        (this.#bytes[name + 1] === 0 || (this.#bytes[name + 1] === 0x2e && this.#bytes[name + 2] === 0));
      if (!isDots) visit(this.#address + name, this.#bytes[at + RECORD_TYPE]!);
    }
    return length;
  }

  /** Begins a folder again. */
  rewind(fd: number): void {
    this.#call(SYS_LSEEK, fd, 0, 0);
  }
}

let calls: DirectoryCalls | undefined;

/** The calls of this process. */
export function directoryCalls(): DirectoryCalls {
  calls ??= new DirectoryCalls();
  return calls;
}
