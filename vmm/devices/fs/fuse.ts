// The FUSE protocol as a Linux guest speaks it over a virtqueue: numbers and sizes (Linux,
// include/uapi/linux/fuse.h, version 7.38; virtio 1.2, 5.11.6.1). Everything is little-endian.

export const FUSE_KERNEL_VERSION = 7;
export const FUSE_KERNEL_MINOR_VERSION = 38;
/** Linux has had virtio-fs since this one. */
export const FUSE_LEAST_MINOR_VERSION = 31;

/** The node of the mount's root directory. */
export const FUSE_ROOT_ID = 1;

// Requests.
export const FUSE_LOOKUP = 1;
export const FUSE_FORGET = 2;
export const FUSE_GETATTR = 3;
export const FUSE_SETATTR = 4;
export const FUSE_READLINK = 5;
export const FUSE_SYMLINK = 6;
export const FUSE_MKNOD = 8;
export const FUSE_MKDIR = 9;
export const FUSE_UNLINK = 10;
export const FUSE_RMDIR = 11;
export const FUSE_RENAME = 12;
export const FUSE_LINK = 13;
export const FUSE_OPEN = 14;
export const FUSE_READ = 15;
export const FUSE_WRITE = 16;
export const FUSE_STATFS = 17;
export const FUSE_RELEASE = 18;
export const FUSE_FSYNC = 20;
export const FUSE_SETXATTR = 21;
export const FUSE_GETXATTR = 22;
export const FUSE_LISTXATTR = 23;
export const FUSE_REMOVEXATTR = 24;
export const FUSE_FLUSH = 25;
export const FUSE_INIT = 26;
export const FUSE_OPENDIR = 27;
export const FUSE_READDIR = 28;
export const FUSE_RELEASEDIR = 29;
export const FUSE_FSYNCDIR = 30;
export const FUSE_CREATE = 35;
export const FUSE_INTERRUPT = 36;
export const FUSE_DESTROY = 38;
export const FUSE_IOCTL = 39;
export const FUSE_BATCH_FORGET = 42;
export const FUSE_FALLOCATE = 43;
export const FUSE_READDIRPLUS = 44;
export const FUSE_RENAME2 = 45;
export const FUSE_LSEEK = 46;
export const FUSE_COPY_FILE_RANGE = 47;
export const FUSE_SYNCFS = 50;
export const FUSE_TMPFILE = 51;

// FUSE_INIT flags.
export const FUSE_ASYNC_READ = 1 << 0;
export const FUSE_ATOMIC_O_TRUNC = 1 << 3;
export const FUSE_BIG_WRITES = 1 << 5;
export const FUSE_DONT_MASK = 1 << 6;
export const FUSE_AUTO_INVAL_DATA = 1 << 12;
export const FUSE_DO_READDIRPLUS = 1 << 13;
export const FUSE_READDIRPLUS_AUTO = 1 << 14;
export const FUSE_ASYNC_DIO = 1 << 15;
export const FUSE_PARALLEL_DIROPS = 1 << 18;
export const FUSE_POSIX_ACL = 1 << 20;
export const FUSE_MAX_PAGES = 1 << 22;
export const FUSE_CACHE_SYMLINKS = 1 << 23;
export const FUSE_SUBMOUNTS = 1 << 27;
export const FUSE_HANDLE_KILLPRIV_V2 = 1 << 28;
export const FUSE_SETXATTR_EXT = 1 << 29;

// fuse_setattr_in.valid
export const FATTR_MODE = 1 << 0;
export const FATTR_UID = 1 << 1;
export const FATTR_GID = 1 << 2;
export const FATTR_SIZE = 1 << 3;
export const FATTR_ATIME = 1 << 4;
export const FATTR_MTIME = 1 << 5;
export const FATTR_FH = 1 << 6;
export const FATTR_ATIME_NOW = 1 << 7;
export const FATTR_MTIME_NOW = 1 << 8;
export const FATTR_KILL_SUIDGID = 1 << 11;

export const FUSE_GETATTR_FH = 1;
export const FUSE_FSYNC_FDATASYNC = 1;
export const FUSE_OPEN_KILL_SUIDGID = 1;
/** From the page cache, by a handle that may be any of the file's. */
export const FUSE_WRITE_CACHE = 1;
export const FUSE_WRITE_KILL_SUIDGID = 4;
export const FUSE_SETXATTR_ACL_KILL_SGID = 1;

/** fuse_open_out.open_flags: what the guest has in its page cache is still right. */
export const FOPEN_KEEP_CACHE = 2;
/** fuse_attr.flags: a file system of its own begins here. */
export const FUSE_ATTR_SUBMOUNT = 1;

// `struct fuse_in_header`: u32 len, u32 opcode, u64 unique, u64 nodeid, u32 uid, gid, pid, padding.
// In 32-bit words.
export const IN_HEADER_SIZE = 40;
export const IN_LENGTH = 0;
export const IN_OPCODE = 1;
export const IN_UNIQUE = 2;
export const IN_NODE = 4;
export const IN_UID = 6;
export const IN_GID = 7;

/** `struct fuse_out_header`: u32 len, s32 error, u64 unique. */
export const OUT_HEADER_SIZE = 16;
export const WRITE_IN_SIZE = 40;
export const ATTR_SIZE = 88;
export const ENTRY_OUT_SIZE = 128;
export const ATTR_OUT_SIZE = 104;
export const OPEN_OUT_SIZE = 16;
export const INIT_OUT_SIZE = 64;
/** `struct fuse_dirent` up to its name. */
export const DIRENT_SIZE = 24;
