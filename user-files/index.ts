// Reads small files that the user names: options, settings, certificates. A file may stand in a
// folder that a guest writes, so no read blocks for ever or has no end.
import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync } from 'node:fs';

/** Bytes. Docker has no limit here. The largest of these files in use have some 100 KB. */
const MAX_BYTES = 16 * 1024 * 1024;
const CHUNK = 64 * 1024;
const STDIN = 0;

export class UserFileError extends Error {
  override readonly name = 'UserFileError';

  constructor(
    readonly code: UserFileCode,
    message: string,
  ) {
    super(message);
  }
}

export type UserFileCode =
  /** It is a folder, a named pipe, a socket or a disk. */
  | 'not-a-file'
  /** It has more bytes than such a file may have. */
  | 'too-large';

/**
 * Reads a whole file. What the caller passes on as a descriptor is read too, as in `<(...)` and
 * `/dev/stdin`, and so is `/dev/null`.
 * @param path `-` for standard input, if `stdin` is true
 * @throws UserFileError; Error of the file system
 */
export function readUserFile(path: string, { stdin = false } = {}): Buffer {
  if (stdin && path === '-') return readAll(STDIN);
  // A named pipe without a writer would block the open.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    checkType(fd);
    // A pipe must be waited for.
    const status = fstatSync(fd);
    return status.isFIFO() || status.isCharacterDevice() ? readAgain(fd) : readAll(fd);
  } finally {
    closeSync(fd);
  }
}

/** Reads an open file by a descriptor that waits. */
function readAgain(fd: number): Buffer {
  const waiting = openSync(`/proc/self/fd/${fd}`, constants.O_RDONLY | constants.O_NOCTTY);
  try {
    return readAll(waiting);
  } finally {
    closeSync(waiting);
  }
}

/** @throws UserFileError */
function checkType(fd: number): void {
  const status = fstatSync(fd);
  if (status.isFile() || status.isCharacterDevice()) return;
  if (status.isDirectory()) throw new UserFileError('not-a-file', 'it is a folder');
  if (!status.isFIFO()) throw new UserFileError('not-a-file', 'it is not a regular file');
  // A pipe without a name has its writer already.
  if (readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:')) return;
  throw new UserFileError('not-a-file', 'it is a named pipe');
}

/** @throws UserFileError */
function readAll(fd: number): Buffer {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    const count = readSync(fd, chunk);
    if (count === 0) return Buffer.concat(chunks);
    length += count;
    if (length > MAX_BYTES) throw new UserFileError('too-large', `it is larger than ${MAX_BYTES / 1024 ** 2} MiB`);
    chunks.push(chunk.subarray(0, count));
  }
}
