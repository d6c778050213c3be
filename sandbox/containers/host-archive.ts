// Makes a tar archive (POSIX.1-2001 pax) of a folder or file of the host, for a container to
// extract. The headers are written by the `tar` package. The walk is our own: that of the package
// leaves out FIFOs, and fails if a file shrinks while it is read.
import { createReadStream, type Stats } from 'node:fs';
import { lstat, readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Header, type HeaderData } from 'tar/header';
import { Pax } from 'tar/pax';
import type { EntryTypeName } from 'tar/types';
import { hasCode, messageOf } from '../../errors/index.js';
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
export async function* archiveHost(path: string, name: string, { follow = false } = {}): AsyncGenerator<Buffer> {
  try {
    yield* entries(path, name, new Map(), follow);
  } catch (cause) {
    throw new SandboxError(hasCode(cause, 'ENOENT') ? 'no-such-file' : 'tool', messageOf(cause), { cause });
  }
  yield END;
}

async function* entries(path: string, name: string, links: Links, follow = false): AsyncGenerator<Buffer> {
  const status = await (follow ? stat(path) : lstat(path));
  if (status.isDirectory()) {
    yield header(`${name}/`, status, 'Directory');
    for (const child of (await readdir(path)).sort()) yield* entries(join(path, child), `${name}/${child}`, links);
    return;
  }
  const inode = `${status.dev} ${status.ino}`;
  const before = links.get(inode);
  if (status.nlink > 1 && before !== undefined) {
    yield header(name, status, 'Link', before);
    return;
  }
  links.set(inode, name);
  if (status.isSymbolicLink()) yield header(name, status, 'SymbolicLink', await readlink(path));
  else if (status.isFIFO()) yield header(name, status, 'FIFO');
  else if (status.isFile()) {
    yield header(name, status, 'File');
    yield* contents(path, status.size);
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
