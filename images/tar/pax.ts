// The extended header records of one tar entry (POSIX.1-2017 pax, "pax Extended Header"), with the
// two families of vendor records that layers use: SCHILY.xattr.* for extended attributes and
// GNU.sparse.* for sparse files.

import { badTar } from './header.js';

/**
 * A point in time. `seconds` since 1970, negative before. `nanoseconds` is 0 to 999,999,999 and
 * always counts forwards.
 */
export interface Timestamp {
  seconds: number;
  nanoseconds: number;
}

export interface PaxRecords {
  path?: string;
  linkpath?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: Timestamp;
  /** Names as latin1, values unchanged. */
  xattrs?: Map<string, Buffer>;
  sparse?: PaxSparse;
}

/** The GNU.sparse.* records of formats 0.0, 0.1 and 1.0. */
export interface PaxSparse {
  major?: string;
  minor?: string;
  name?: string;
  realSize?: number;
  /** Offsets and lengths in turn. Format 1.0 has them in front of the file's data instead. */
  map?: number[];
}

const XATTR = 'SCHILY.xattr.';
const SPARSE = 'GNU.sparse.';

/**
 * Reads all records of an extended header.
 *
 * @throws ImageError `corrupt` if a record is malformed
 */
export function parsePax(data: Buffer): PaxRecords {
  const records: PaxRecords = {};
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const digits = space === -1 ? '' : data.toString('latin1', at, Math.min(space, at + 16));
    const length = /^\d{1,15}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    // The shortest record is `5 k=\n`.
    if (length < 5 || end > data.length || data[end - 1] !== 0x0a) throw badTar('a malformed PAX record');
    const equals = data.indexOf(0x3d, space);
    if (equals === -1 || equals >= end || equals === space + 1) throw badTar('a malformed PAX record');
    setRecord(records, data.toString('latin1', space + 1, equals), data.subarray(equals + 1, end - 1));
    at = end;
  }
  return records;
}

function setRecord(records: PaxRecords, key: string, value: Buffer): void {
  // An empty value cancels the value of an earlier header. There is no earlier header here.
  if (value.length === 0) return;
  switch (key) {
    case 'path':
      records.path = name(value);
      return;
    case 'linkpath':
      records.linkpath = name(value);
      return;
    case 'size':
      records.size = integer(value);
      return;
    case 'uid':
      records.uid = integer(value);
      return;
    case 'gid':
      records.gid = integer(value);
      return;
    case 'mtime':
      records.mtime = time(value);
      return;
  }
  if (key.startsWith(XATTR)) {
    records.xattrs ??= new Map();
    records.xattrs.set(key.slice(XATTR.length), Buffer.from(value));
  } else if (key.startsWith(SPARSE)) {
    records.sparse ??= {};
    setSparse(records.sparse, key.slice(SPARSE.length), value);
  }
}

function setSparse(sparse: PaxSparse, key: string, value: Buffer): void {
  switch (key) {
    case 'major':
      sparse.major = value.toString('latin1');
      return;
    case 'minor':
      sparse.minor = value.toString('latin1');
      return;
    case 'name':
      sparse.name = name(value);
      return;
    case 'realsize':
    case 'size':
      sparse.realSize = integer(value);
      return;
    // Format 0.0 repeats this pair of records for each segment.
    case 'offset':
    case 'numbytes':
      sparse.map ??= [];
      sparse.map.push(integer(value));
      return;
    case 'map':
      sparse.map = value
        .toString('latin1')
        .split(',')
        .map((number) => integer(Buffer.from(number, 'latin1')));
      return;
  }
}

function name(value: Buffer): string {
  if (value.includes(0)) throw badTar('a name with a NUL in it');
  return value.toString('latin1');
}

function integer(value: Buffer): number {
  const digits = value.toString('latin1');
  const number = /^[+-]?\d{1,19}$/.test(digits) ? Number(digits) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw badTar('a PAX record with an invalid number');
  return number;
}

function time(value: Buffer): Timestamp {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(value.toString('latin1'));
  if (!match) throw badTar('a PAX record with an invalid time');
  const seconds = Number(match[2]);
  const nanoseconds = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  if (match[1] === '') return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: 0 - seconds, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}
