// Arguments of system calls that lie in memory: a filter of system calls sees an address, and not what
// is there. So what the file server passes lies at known addresses that nobody can change, and the
// filter compares the addresses (accel/system-calls.ts):
// - The memory is a file that takes no further writes, mapped to be read. The kernel never makes such a
//   mapping writable.
// - It lies below all other memory, and the filter lets no mapping be made or removed that starts below
//   its end.
import * as libc from './libc.js';

/** Below the programs of Node.js, and above what a host's `vm.mmap_min_addr` may forbid. */
const START = 0x10_0000;
const SIZE = 0x1_0000;
/** Mappings that may change start here, or above. */
export const FIRST_FREE = START + SIZE;

/** The empty path, of calls that mean a descriptor. */
export const EMPTY_PATH = START;
/** `/proc/self/fd/N`: what the slot stands for (see {@link FixedArguments.slot}). */
export const SLOT_PATH = START + 0x20;

/** Bytes of a `struct open_how`, and from one to the next. */
export const HOW_SIZE = 24;
const HOW_STRIDE = 32;
/** A file, for its attributes and as a parent, below its directory. */
export const HOW_PATH = START + 0x40;
/** The directory that a descriptor stands for. */
export const HOW_DIRECTORY = START + 0x60;
/** What the slot stands for, which is a regular file. */
export const HOW_REOPEN = START + 0x400;
export const HOW_REOPEN_SIZE = 0x400;
/** A new file below its directory. First those with a name. */
export const HOW_NEW = START + 0x8000;
export const HOW_NEW_SIZE = 0x8000;
const HOW_UNNAMED = HOW_NEW + HOW_NEW_SIZE / 2;
const PERMISSIONS = 0o777;

const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_DSYNC = 0o10000;
const O_DIRECTORY = 0o200000;
const O_NOFOLLOW = 0o400000;
const O_SYNC = 0o4010000;
const O_PATH = 0o10000000;
const O_TMPFILE = 0o20000000 | O_DIRECTORY;
const ACCESS_MODES = 3;
const ACCESS_MODE = 3;

/**
 * RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH: magic links of /proc are not followed, and no path leads
 * above its starting directory.
 */
const RESOLVE_CONFINED = 0x02 | 0x08;

const MAP_FIXED_NOREPLACE = 0x100000;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE. */
const SEALS = 1 | 2 | 4 | 0x10;

export interface FixedArguments {
  /** A descriptor that another may take the place of for a while, so that a path leads to it. */
  readonly slot: number;
  /** What is in the slot otherwise. */
  readonly neutral: number;
}

/** The address of how to open what the slot stands for: read or write, O_TRUNC, O_DSYNC, O_SYNC. */
export function howToReopen(flags: number): number {
  const sync = (flags & O_SYNC) === O_SYNC ? 2 : (flags & O_DSYNC) !== 0 ? 1 : 0;
  const truncates = (flags & O_TRUNC) !== 0 ? 1 : 0;
  return HOW_REOPEN + ((flags & ACCESS_MODE) + ACCESS_MODES * (truncates + 2 * sync)) * HOW_STRIDE;
}

/** The address of how to create a file with these permissions, to be read and written. */
export function howToCreate(mode: number, hasName: boolean): number {
  return (hasName ? HOW_NEW : HOW_UNNAMED) + (mode & PERMISSIONS) * HOW_STRIDE;
}

/** The contents of the memory. */
function contents(slot: number): Uint8Array {
  const bytes = Buffer.alloc(SIZE);
  const put = (address: number, flags: number, mode = 0, resolve = RESOLVE_CONFINED) => {
    const at = address - START;
    bytes.writeUInt32LE((flags | libc.O_CLOEXEC) >>> 0, at);
    bytes.writeUInt32LE(mode, at + 8);
    bytes.writeUInt32LE(resolve, at + 16);
  };
  bytes.write(`/proc/self/fd/${slot}`, SLOT_PATH - START, 'latin1');
  put(HOW_PATH, O_PATH | O_NOFOLLOW);
  put(HOW_DIRECTORY, O_DIRECTORY);
  // Does not wait for another process's lease on the file.
  for (const sync of [0, O_DSYNC, O_SYNC]) {
    for (const truncates of [0, O_TRUNC]) {
      for (const access of [libc.O_RDONLY, libc.O_WRONLY, libc.O_RDWR]) {
        const flags = access | truncates | sync;
        put(howToReopen(flags), flags | libc.O_NONBLOCK, 0, 0);
      }
    }
  }
  for (let mode = 0; mode <= PERMISSIONS; mode++) {
    put(howToCreate(mode, true), libc.O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | libc.O_NONBLOCK, mode);
    put(howToCreate(mode, false), libc.O_RDWR | O_TMPFILE | libc.O_NONBLOCK, mode);
  }
  return bytes;
}

let placed: FixedArguments | undefined;

/** Places the arguments, once in a process. @throws libc.SystemError if something else is there */
export function fixedArguments(): FixedArguments {
  placed ??= place();
  return placed;
}

function place(): FixedArguments {
  const fd = libc.check(libc.memfd_create('tsvm-arguments', libc.MFD_CLOEXEC | MFD_ALLOW_SEALING), 'memfd_create');
  const slot = libc.check(libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0), 'fcntl');
  libc.check(libc.write(fd, contents(slot), SIZE), 'write');
  libc.check(libc.fcntl(fd, F_ADD_SEALS, SEALS), 'fcntl');
  const flags = libc.MAP_SHARED | MAP_FIXED_NOREPLACE;
  const address = libc.check(libc.mmap(START, SIZE, libc.PROT_READ, flags, fd, 0), 'mmap');
  if (address !== START) throw new Error('the host has no room for fixed arguments');
  return { slot, neutral: fd };
}
