// Makes a tar archive (POSIX.1-2001 pax) of a folder or file of the host, for a container to
// extract. The headers are written by the `tar` package. The walk is our own: that of the package
// leaves out FIFOs, and fails if a file shrinks while it is read. A container may write the folder
// meanwhile: so what is looked at is opened first, without following a link, and read by its
// descriptor.
import { closeSync, constants, createReadStream, fstatSync, openSync, type Stats } from 'node:fs';
import { readdir, readlink } from 'node:fs/promises';
import { Header, type HeaderData } from 'tar/header';
import { Pax } from 'tar/pax';
import type { EntryTypeName } from 'tar/types';
import { hasCode, messageOf } from '../../errors/index.js';
import { O_PATH } from '../../libc/openat2.js';
import { SandboxError } from '../errors.js';

const BLOCK = 512;
/** Two zero blocks. */
const END = Buffer.alloc(2 * BLOCK);

/** The first name in the archive of each file, by device and inode, for hard links. */
type Links = Map<string, string>;

/**
 * The archive of `path` and everything below it, whose root is called `name`. With `follow`, a
 * symbolic link at `path` is replaced by its target.
 * @throws SandboxError `no-such-file`; `tool` if something cannot be read
 */
export function archiveHost(path: string, name: string, { follow = false } = {}): AsyncGenerator<Buffer> {
  return archiveAll([{ path, name }], { follow });
}

/** One archive of several files or folders. @throws SandboxError as `archiveHost` */
export async function* archiveAll(
  sources: readonly { path: string; name: string }[],
  { follow = false } = {},
): AsyncGenerator<Buffer> {
  const links: Links = new Map();
  try {
    for (const { path, name } of sources) yield* entries({ place: path, shown: path }, name, links, follow);
  } catch (cause) {
    if (cause instanceof SandboxError) throw cause;
    throw new SandboxError('tool', messageOf(cause), { cause });
  }
  yield END;
}

/** Where a file is: a path that leads through no name but the last, and the one for messages. */
interface Source {
  place: string;
  shown: string;
}

async function* entries(source: Source, name: string, links: Links, follow = false): AsyncGenerator<Buffer> {
  let place = source.place;
  let fd: number | undefined;
  try {
    fd = openSync(place, follow ? O_PATH : O_PATH | constants.O_NOFOLLOW);
    place = `/proc/self/fd/${fd}`;
    yield* entriesOf(fd, source, name, links);
  } catch (cause) {
    if (cause instanceof SandboxError) throw cause;
    const message = messageOf(cause).replaceAll(place, () => source.shown);
    throw new SandboxError(hasCode(cause, 'ENOENT') ? 'no-such-file' : 'tool', message, { cause });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

async function* entriesOf(fd: number, source: Source, name: string, links: Links): AsyncGenerator<Buffer> {
  const status = fstatSync(fd);
  const place = `/proc/self/fd/${fd}`;
  if (status.isDirectory()) {
    yield header(`${name}/`, status, 'Directory');
    for (const child of (await readdir(place)).sort()) {
      yield* entries({ place: `${place}/${child}`, shown: `${source.shown}/${child}` }, `${name}/${child}`, links);
    }
    return;
  }
  const inode = `${status.dev} ${status.ino}`;
  const before = links.get(inode);
  if (status.nlink > 1 && before !== undefined) {
    yield header(name, status, 'Link', before);
    return;
  }
  links.set(inode, name);
  if (status.isSymbolicLink()) yield header(name, status, 'SymbolicLink', await readlink(source.place));
  else if (status.isFIFO()) yield header(name, status, 'FIFO');
  else if (status.isFile()) {
    yield header(name, status, 'File');
    yield* contents(place, status.size);
  }
}

/**
 * The contents of a file, padded to blocks. If the file changes meanwhile, it is cut or filled with
 * zeros to the `size` in its header.
 */
async function* contents(path: string, size: number): AsyncGenerator<Buffer> {
  let left = size;
  if (size > 0) {
    for await (const chunk of createReadStream(path, { end: size - 1 }) as AsyncIterable<Buffer>) {
      left -= chunk.length;
      yield chunk;
    }
  }
  for (; left > 0; left -= BLOCK) yield Buffer.alloc(Math.min(left, BLOCK));
  yield Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

/** An extended header, whose fields have no limits, and the header itself. */
function header(path: string, status: Stats, type: EntryTypeName, linkpath?: string): Buffer {
  const { uid, gid, mtime } = status;
  const fields = {
    path,
    uid,
    gid,
    size: type === 'File' ? status.size : 0,
    ...(linkpath !== undefined && { linkpath }),
  };
  // `Pax` would cut a `Date` to milliseconds, and its `encode` throws for a time before 1970 with a
  // fraction.
  const precise = { mtime: (status.mtimeMs / 1000).toFixed(6) };
  const records = Buffer.from(Object.assign(new Pax(fields), precise).encodeBody());
  return Buffer.concat([
    block({ path: 'pax', type: 'ExtendedHeader', mode: 0o644, size: records.length }),
    records,
    Buffer.alloc((BLOCK - (records.length % BLOCK)) % BLOCK),
    block({ ...fields, type, mode: status.mode & 0o7777, mtime: new Date(Math.max(0, mtime.getTime())) }),
  ]);
}

function block(fields: HeaderData): Buffer {
  const bytes = Buffer.alloc(BLOCK);
  new Header(fields).encode(bytes);
  return bytes;
}
