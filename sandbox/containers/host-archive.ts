// A folder or file of the host as a tar archive (POSIX.1-2001 pax), for the container's end of a copy.
import { createReadStream, type Stats } from 'node:fs';
import { lstat, readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SandboxError } from '../errors.js';

const BLOCK = 512;
const END = Buffer.alloc(2 * BLOCK);
const MAX_NAME = 100;
const MAX_OCTAL = { id: 8 ** 7, size: 8 ** 11 };

/** A name in the archive for each file that has several names. */
type Links = Map<string, string>;

/**
 * The bytes of an archive of `path` and all below it, under `name`. With `follow`, a symbolic link at `path` stands for
 * what it leads to.
 * @throws SandboxError `no-such-file`, `tool` when something cannot be read
 */
export async function* archiveHost(path: string, name: string, { follow = false } = {}): AsyncGenerator<Buffer> {
  try {
    yield* entries(path, name, new Map(), follow);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new SandboxError(code === 'ENOENT' ? 'no-such-file' : 'tool', message, { cause });
  }
  yield END;
}

async function* entries(path: string, name: string, links: Links, follow = false): AsyncGenerator<Buffer> {
  const status = await (follow ? stat(path) : lstat(path));
  if (status.isDirectory()) {
    yield header(`${name}/`, status, '5');
    for (const child of (await readdir(path)).sort()) yield* entries(join(path, child), `${name}/${child}`, links);
    return;
  }
  const inode = `${status.dev} ${status.ino}`;
  const before = links.get(inode);
  if (status.nlink > 1 && before !== undefined) {
    yield header(name, status, '1', before);
    return;
  }
  links.set(inode, name);
  if (status.isSymbolicLink()) yield header(name, status, '2', await readlink(path));
  else if (status.isFIFO()) yield header(name, status, '6');
  else if (status.isFile()) {
    yield header(name, status, '0');
    yield* contents(path, status.size);
  }
}

/** A file that changes meanwhile is cut or filled up to the size that was said. */
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

function header(name: string, status: Stats, type: string, linkname = ''): Buffer {
  const size = type === '0' ? status.size : 0;
  const seconds = Math.max(0, Math.floor(status.mtimeMs / 1000));
  const records: Record<string, string> = { mtime: (status.mtimeMs / 1000).toFixed(6) };
  if (Buffer.byteLength(name) > MAX_NAME) records.path = name;
  if (Buffer.byteLength(linkname) > MAX_NAME) records.linkpath = linkname;
  if (status.uid >= MAX_OCTAL.id) records.uid = String(status.uid);
  if (status.gid >= MAX_OCTAL.id) records.gid = String(status.gid);
  if (size >= MAX_OCTAL.size) records.size = String(size);
  const extension = Buffer.from(Object.entries(records).map(record).join(''));
  const file = { name, linkname, mode: status.mode, uid: status.uid, gid: status.gid, size, seconds, type };
  return Buffer.concat([
    block({ ...file, name: 'pax', linkname: '', mode: 0o644, size: extension.length, type: 'x' }),
    extension,
    Buffer.alloc((BLOCK - (extension.length % BLOCK)) % BLOCK),
    block(file),
  ]);
}

/** A record counts its own length, the digits of that included. */
function record([key, value]: [string, string]): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

interface Header {
  name: string;
  linkname: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  seconds: number;
  type: string;
}

function block({ name, linkname, mode, uid, gid, size, seconds, type }: Header): Buffer {
  const bytes = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) => {
    const digits = value < 8 ** (length - 1) ? value : 0;
    bytes.write(`${digits.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  };
  bytes.write(name, 0, MAX_NAME);
  octal(mode & 0o7777, 100, 8);
  octal(uid, 108, 8);
  octal(gid, 116, 8);
  octal(size, 124, 12);
  octal(seconds, 136, 12);
  bytes.write(type, 156, 'latin1');
  bytes.write(linkname, 157, MAX_NAME);
  bytes.write('ustar\x0000', 257, 'latin1');
  bytes.fill(' ', 148, 156);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}
