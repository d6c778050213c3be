// Headers of the entries of a layer (POSIX.1-2017 pax): a ustar block, and before it an extended
// header if a field does not fit. The same entry gives the same bytes.

import { BLOCK_SIZE } from './header.js';
import type { Timestamp } from './pax.js';
import type { TarEntry, TarEntryType } from './reader.js';

const TYPEFLAGS: Record<TarEntryType, string> = {
  file: '0',
  link: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

const MAX_NAME = 100;
const MAX_ID = 0o7777777;
const MAX_NUMBER = 0o77777777777;

/**
 * The header of an entry. Its contents follow, padded by `filePadding`.
 *
 * @param entry the path of a directory ends with a slash
 */
export function entryHeader(entry: TarEntry): Buffer {
  const { type, path, linkname, uid, gid, size, mtime } = entry;
  const records: Buffer[] = [];
  const fits = (isFitting: boolean, key: string, value: string) => {
    if (!isFitting) records.push(record(key, Buffer.from(value, 'latin1')));
  };
  fits(path.length <= MAX_NAME, 'path', path);
  fits(linkname.length <= MAX_NAME, 'linkpath', linkname);
  fits(uid <= MAX_ID, 'uid', String(uid));
  fits(gid <= MAX_ID, 'gid', String(gid));
  fits(size <= MAX_NUMBER, 'size', String(size));
  const isWhole = mtime.nanoseconds === 0 && mtime.seconds >= 0 && mtime.seconds <= MAX_NUMBER;
  fits(isWhole, 'mtime', timeText(mtime));
  for (const [name, value] of entry.xattrs ?? []) records.push(record(`SCHILY.xattr.${name}`, value));
  const header = block(entry, TYPEFLAGS[type]);
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  const extended = { ...NO_ENTRY, path: 'PaxHeaders/entry', size: body.length, mode: 0o644 };
  const padding = Buffer.alloc((BLOCK_SIZE - (body.length % BLOCK_SIZE)) % BLOCK_SIZE);
  return Buffer.concat([block(extended, 'x'), body, padding, header]);
}

const NO_ENTRY: TarEntry = {
  type: 'file',
  path: '',
  linkname: '',
  mode: 0,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: { seconds: 0, nanoseconds: 0 },
  devMajor: 0,
  devMinor: 0,
  xattrs: null,
};

/** A record counts its own length's digits. */
function record(key: string, value: Buffer): Buffer {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return Buffer.concat([Buffer.from(`${length} ${key}=`, 'latin1'), value, Buffer.from('\n')]);
}

function timeText({ seconds, nanoseconds }: Timestamp): string {
  const fraction = (count: number) => (count === 0 ? '' : `.${String(count).padStart(9, '0').replace(/0+$/, '')}`);
  if (seconds >= 0) return `${seconds}${fraction(nanoseconds)}`;
  // -1.5 s is -2 s and 500 ms forwards.
  if (nanoseconds === 0) return String(seconds);
  return `-${-seconds - 1}${fraction(1e9 - nanoseconds)}`;
}

function block(entry: TarEntry, typeflag: string): Buffer {
  const bytes = Buffer.alloc(BLOCK_SIZE);
  const octal = (value: number, offset: number, length: number, most: number) => {
    const shown = value < 0 || value > most ? 0 : value;
    bytes.write(`${shown.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  };
  bytes.write(entry.path.slice(0, MAX_NAME), 0, 'latin1');
  octal(entry.mode, 100, 8, MAX_ID);
  octal(entry.uid, 108, 8, MAX_ID);
  octal(entry.gid, 116, 8, MAX_ID);
  octal(entry.size, 124, 12, MAX_NUMBER);
  octal(entry.mtime.seconds, 136, 12, MAX_NUMBER);
  bytes.write(typeflag, 156, 'latin1');
  bytes.write(entry.linkname.slice(0, MAX_NAME), 157, 'latin1');
  bytes.write('ustar\x0000', 257, 'latin1');
  octal(entry.devMajor, 329, 8, MAX_ID);
  octal(entry.devMinor, 337, 8, MAX_ID);
  bytes.fill(' ', 148, 156);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}
