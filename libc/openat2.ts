// openat2(2): opens a file by a path whose links are not followed.
import { getSystemErrorName } from 'node:util';
import { errno, libcFunction } from './index.js';

const SYS_OPENAT2 = 437;
const O_CLOEXEC = 0o2000000;

export const AT_FDCWD = -100;
/** For the file's identity and as a directory only. */
export const O_PATH = 0o10000000;

/** No link of /proc is followed. */
export const RESOLVE_NO_MAGICLINKS = 0x02;
/** No link is followed. */
export const RESOLVE_NO_SYMLINKS = 0x04;
/** The path does not lead above its directory. */
export const RESOLVE_BENEATH = 0x08;

const syscall = libcFunction<[number: number, directory: number, path: string, how: Buffer, length: number]>(
  'long syscall(long, long, const char *, void *, long)',
);

/** A failed openat2. `code` is the name of the errno, as on Node's own errors. */
export class OpenError extends Error {
  constructor(
    readonly code: string,
    readonly path: string,
  ) {
    super(`${code}: cannot open '${path}'`);
    this.name = 'OpenError';
  }
}

/**
 * Opens a file. Returns its descriptor, which is close-on-exec.
 * @param directory a directory's descriptor, or AT_FDCWD
 * @param path without NUL
 * @throws OpenError `ELOOP` for a link, `EXDEV` for a path that leads out of the directory
 */
export function openat2(directory: number, path: string, flags: number, resolve: number): number {
  // `struct open_how`: u64 flags, mode, resolve.
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  for (;;) {
    const fd = syscall(SYS_OPENAT2, directory, path, how, how.length);
    if (fd >= 0) return fd;
    const code = getSystemErrorName(-errno());
    // EAGAIN: a rename on the host disturbed the kernel's check.
    if (code !== 'EINTR' && code !== 'EAGAIN') throw new OpenError(code, path);
  }
}
