// Proves that the agent's tar reader, under AddressSanitizer, reads what archives hold, agrees with
// the image store's reader about damaged ones, and never takes a broken archive for a whole one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TarEntry, type TarEntryType, TarReader } from '../../../images/tar/reader.js';
import { fuzzing } from '../../fixtures/fuzz.js';
import { checksummed, paxRecord, type TarMember, tar, tarMember } from '../../fixtures/tar-writer.js';
import {
  type AgentEntry,
  buildArchiveReader,
  type ReadArchive,
  readArchiveFile,
  readArchives,
} from './archive-program.js';

let directory: string;
let program: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'agent-tar-reader-'));
  program = buildArchiveReader(directory);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function read(archive: Buffer): ReadArchive {
  const [result] = readArchives(program, [archive]);
  if (result === undefined) throw new Error('the program printed nothing');
  return result;
}

/** An archive of one entry with an extended header whose contents are given. */
function withExtension(contents: string, type = 'x'): Buffer {
  return Buffer.concat([tarMember({ path: 'extension', type, data: contents }), tar([{ path: 'file' }])]);
}

/** A header with a field overwritten, and its checksum mended. */
function withField(member: TarMember, offset: number, field: string | Buffer): Buffer {
  const archive = tar([member]);
  Buffer.from(field as string, 'latin1').copy(archive, offset);
  checksummed(archive.subarray(0, 512));
  return archive;
}

const MODE = 100;
const UID = 108;
const SIZE = 124;
const MTIME = 136;
const MINOR = 337;

describe('an archive', () => {
  test('has all that its headers say', () => {
    const path = `${'d/'.repeat(90)}\xff name`;
    const archive = tar([
      {
        path: `./${path}`,
        mode: 0o6711,
        uid: 3_000_000_000,
        gid: 70_000,
        mtime: [-2, 500_000_000],
        data: 'data',
        xattrs: { 'security.capability': '\x01\0\x80\n=\n', 'user.\xe4': 'x' },
      },
      { path: '/dir//', type: '5', format: 'gnu', mtime: [2 ** 35, 0], uid: 2 ** 32 - 1 },
      { path: `dir/${'l'.repeat(150)}`, type: '1', link: `/./dir/${'t'.repeat(120)}`, format: 'gnu' },
      { path: `${'p'.repeat(100)}/${'u'.repeat(90)}`, type: '2', link: '../x', format: 'ustar', size: 7 },
      { path: 'null', type: '3', device: [1, 3] },
    ]);
    const entry = {
      linkname: '',
      size: 0,
      uid: 0,
      gid: 0,
      mode: 0o644,
      mtime: [0, 0],
      device: [0, 0],
      xattrs: [],
      contents: '',
    };
    expect(read(archive)).toEqual({
      entries: [
        {
          ...entry,
          type: '0',
          path,
          size: 4,
          uid: 3_000_000_000,
          gid: 70_000,
          mode: 0o6711,
          mtime: [-2, 500_000_000],
          xattrs: [
            ['security.capability', '\x01\0\x80\n=\n'],
            ['user.\xe4', 'x'],
          ],
          contents: 'data',
        },
        { ...entry, type: '5', path: 'dir', mtime: [2 ** 35, 0], uid: 2 ** 32 - 1 },
        { ...entry, type: '1', path: `dir/${'l'.repeat(150)}`, linkname: `dir/${'t'.repeat(120)}` },
        { ...entry, type: '2', path: `${'p'.repeat(100)}/${'u'.repeat(90)}`, linkname: '../x' },
        { ...entry, type: '3', path: 'null', device: [1, 3] },
      ],
      error: null,
    });
  });

  test('cut at any byte is whole up to the cut, and an error unless the cut is between entries', () => {
    const members: TarMember[] = [
      { path: 'a', data: 'even', mtime: [1, 5], xattrs: { 'user.a': 'b' } },
      { path: 'b', data: 'odd' },
      { path: `${'c'.repeat(120)}/`, type: '5', format: 'gnu' },
    ];
    const archive = tar(members);
    const whole = read(archive);
    const ends = members.map((_, index) => Buffer.concat(members.slice(0, index + 1).map(tarMember)).length);
    const cuts = Array.from({ length: archive.length }, (_, length) => length);
    const results = readArchives(
      program,
      cuts.map((length) => archive.subarray(0, length)),
    );
    for (const [length, { entries, error }] of results.entries()) {
      // An entry whose contents are cut is told, and the error after it.
      const complete = ends.filter((end) => end <= length).length;
      expect(whole.entries.slice(0, entries.length).map(({ path }) => path)).toEqual(entries.map(({ path }) => path));
      expect(entries.slice(0, complete)).toEqual(whole.entries.slice(0, complete));
      const between = length === 0 || ends.includes(length) || length === ends.at(-1)! + 512;
      expect({ length, error }).toEqual({ length, error: between ? null : 'cut short' });
    }
  });

  test('that ends after an extended header is cut short', () => {
    const extension = tarMember({ path: 'x', type: 'x', data: paxRecord(['path', 'a']) });
    expect(read(extension)).toEqual({ entries: [], error: 'cut short' });
    expect(read(Buffer.concat([extension, Buffer.alloc(1024)]))).toEqual({ entries: [], error: 'cut short' });
  });

  test('has two zero blocks at its end, or one and nothing after it', () => {
    const entry = tarMember({ path: 'a' });
    const zeros = Buffer.alloc(512);
    expect(read(Buffer.concat([entry, zeros])).error).toBe(null);
    expect(read(Buffer.concat([entry, zeros, zeros, Buffer.from('anything')])).error).toBe(null);
    expect(read(Buffer.concat([entry, zeros, entry])).error).toBe('data after half of an end mark');
  });

  test('that cannot be read is an error, and not empty', () => {
    expect(readArchiveFile(program, '/')).toEqual({ entries: [], error: 'Is a directory' });
    const path = join(directory, 'archive.tar');
    writeFileSync(path, tar([{ path: 'a' }]));
    expect(readArchiveFile(program, path)).toMatchObject({ entries: [{ path: 'a' }], error: null });
  });
});

describe('an extended header', () => {
  test.each([
    ['a length after white space', ' \n\n\n\n5 abc'],
    ['a length after spaces', '  9 path=a\n'],
    ['a length with a sign', '+9 path=a\n'],
    ['a length that ends behind the header', '99 path=a\n'],
    ['a length of 64 bits', '18446744073709551625 path=a\n'],
    ['a length that ends before its key', '5     path=a\n'],
    ['no length', 'path=a\n'],
    ['no value', '7 path\n'],
    ['no key', '5 =a\n'],
    ['no newline', '10 path=ab'],
    ['a NUL in a path', paxRecord(['path', 'a\0b'])],
    ['a path that is too long', paxRecord(['path', 'a'.repeat(4096)])],
    ['a link that is too long', paxRecord(['linkpath', 'a'.repeat(4096)])],
    ['a size that is negative', paxRecord(['size', '-1'])],
    ['a size after white space', paxRecord(['size', ' 1'])],
    ['a size that overflows with its padding', paxRecord(['size', '9223372036854775807'])],
    ['a size of more than 64 bits', paxRecord(['size', '99999999999999999999'])],
    ['an owner of more than 32 bits', paxRecord(['uid', '4294967296'])],
    ['a group that is no number', paxRecord(['gid', '0x10'])],
    ['a time that is no number', paxRecord(['mtime', '1.5e3'])],
    ['a time of more than 64 bits', paxRecord(['mtime', '9223372036854775808'])],
    ['a record after one that is right', `${paxRecord(['path', 'a'])}5 a`],
  ])('with %s is refused', (_, contents) => {
    expect(read(withExtension(contents))).toEqual({ entries: [], error: 'an extended header is wrong' });
  });

  test.each(['L', 'K'])('of type %s with a name that is too long is refused', (type) => {
    expect(read(withExtension('a'.repeat(4096), type)).error).toBe('an extended header is wrong');
    expect(read(withExtension('a'.repeat(4095), type)).error).toBe(null);
  });

  test('of more than 1 MiB is refused', () => {
    expect(read(withExtension('0'.repeat(2 ** 20 + 1))).error).toBe('an extended header is too large');
  });

  test('with an empty value leaves the header as it is', () => {
    const records = ['path', 'linkpath', 'size', 'uid', 'mtime'].map((key) => paxRecord([key, '']));
    expect(read(withExtension(records.join('')))).toMatchObject({ entries: [{ path: 'file' }], error: null });
  });
});

describe('a header', () => {
  test.each([
    ['a mode that is not octal', MODE, '00000a8\0', "a header's number is wrong"],
    ['a mode with digits after a space', MODE, '0 00644\0', "a header's number is wrong"],
    ['an owner of more than 32 bits', UID, Buffer.from('8000000100000000', 'hex'), "a header's number is wrong"],
    ['a size that is negative', SIZE, Buffer.from('ffffffffffffffffffffff00', 'hex'), "a header's size is wrong"],
    ['a size of more than 63 bits', SIZE, Buffer.from('800000018000000000000000', 'hex'), "a header's size is wrong"],
    [
      'a size that overflows with its padding',
      SIZE,
      Buffer.from('800000007fffffffffffffff', 'hex'),
      "a header's size is wrong",
    ],
    [
      'a time of more than 64 bits',
      MTIME,
      Buffer.from('bfffffffffffffffffffffff', 'hex'),
      "a header's number is wrong",
    ],
  ])('with %s is refused', (_, offset, field, error) => {
    expect(read(withField({ path: 'a' }, offset, field))).toEqual({ entries: [], error });
  });

  test('of a device with a number that is not octal is refused', () => {
    expect(read(withField({ path: 'a', type: '4' }, MINOR, '9\0'))).toEqual({
      entries: [],
      error: "a header's number is wrong",
    });
  });

  test('has numbers between spaces, and times before 1970', () => {
    expect(read(withField({ path: 'a' }, UID, '  17 \0 \0')).entries).toMatchObject([{ uid: 0o17 }]);
    const time = Buffer.from('fffffffffffffffffffffffe', 'hex');
    expect(read(withField({ path: 'a' }, MTIME, time)).entries).toMatchObject([{ mtime: [-2, 0] }]);
  });

  test.each(['..', '../a', 'a/../b', 'a/..', '/..', './..'])('with the path %s is refused', (path) => {
    expect(read(tar([{ path }]))).toEqual({ entries: [], error: 'a path with ..' });
    expect(read(tar([{ path: 'a', type: '1', link: path }]))).toEqual({ entries: [], error: 'a link with ..' });
  });

  test.each([
    ['', '.'],
    ['./', '.'],
    ['///', '.'],
    ['/.//a/', 'a'],
    ['..a/b..', '..a/b..'],
  ])('with the path %j is at %j', (path, clean) => {
    expect(read(tar([{ path }])).entries).toMatchObject([{ path: clean }]);
  });
});

const name = fc.oneof(
  fc.constantFrom('a', './b', '/c/', 'd/../e', 'n'.repeat(101), `${'p'.repeat(120)}/${'q'.repeat(80)}`, '\xff \n='),
  fc.string({ unit: 'binary-ascii', maxLength: 20 }).map((text) => text.replaceAll('\0', '')),
);
const member: fc.Arbitrary<TarMember> = fc.record(
  {
    path: name,
    type: fc.constantFrom('0', '0', '1', '2', '3', '4', '5', '6', '7', '\0'),
    data: fc.string({ unit: 'binary-ascii', maxLength: 1200 }),
    link: name,
    mode: fc.nat(0o7777),
    uid: fc.oneof(fc.nat(0o7777777), fc.nat(2 ** 32 - 1)),
    gid: fc.oneof(fc.nat(0o7777777), fc.nat(2 ** 32 - 1)),
    mtime: fc.tuple(fc.integer({ min: -(2 ** 31), max: 2 ** 33 }), fc.nat(999_999_999)),
    device: fc.tuple(fc.nat(4095), fc.nat(2 ** 20 - 1)),
    xattrs: fc.dictionary(fc.stringMatching(/^[a-z.]{1,20}$/), fc.string({ unit: 'binary-ascii', minLength: 1 })),
    format: fc.constantFrom('pax' as const, 'gnu' as const, 'ustar' as const),
  },
  { requiredKeys: ['path'] },
);
const archive = fc.array(member, { maxLength: 5 }).map((members) =>
  tar(
    members.map((some) => ({
      ...some,
      ...(some.type === undefined || ('0\x007'.includes(some.type) && !some.path.endsWith('/')) ? {} : { data: '' }),
      // Only pax has attributes and times of other kinds.
      ...(some.format === 'gnu' ? { xattrs: {}, mtime: [0, 0] as [number, number] } : {}),
    })),
  ),
);

const edit = fc.record({
  block: fc.nat(),
  offset: fc.oneof(fc.nat(511), fc.integer({ min: 100, max: 160 }), fc.nat(30)),
  kind: fc.constantFrom('set', 'set', 'set', 'insert', 'remove'),
  byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 0x20, 0x30, 0x39, 0x4c, 0x67, 0x78, 0x80, 0xff)),
});

/**
 * Archives with some bytes changed, added and removed. The checksums of most headers are repaired.
 */
const damaged = fc
  .record({
    sound: archive,
    edits: fc.array(edit, { minLength: 1, maxLength: 8 }),
    mend: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ sound, edits, mend }) => {
    const bytes = [...sound];
    for (const { block, offset, kind, byte } of edits) {
      const at = ((block % (sound.length / 512)) * 512 + offset) % (bytes.length + 1);
      if (kind === 'insert') bytes.splice(at, 0, byte);
      else if (kind === 'remove') bytes.splice(at, 1);
      else if (at < bytes.length) bytes[at] = byte;
    }
    const result = Buffer.from(bytes);
    for (let at = 0; mend > 0 && at + 512 <= result.length; at += 512) {
      if (result.toString('latin1', at + 257, at + 262) === 'ustar') checksummed(result.subarray(at, at + 512));
    }
    return result;
  });

const TYPES: Record<TarEntryType, string> = {
  file: '0',
  link: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/**
 * Returns the entries that the image store's reader finds in an archive. Null if it refuses the
 * archive or gives it another meaning.
 */
function readByStore(bytes: Buffer): TarEntry[] | null {
  const entries: TarEntry[] = [];
  const reader = new TarReader({ entry: (entry) => entries.push(entry), data: () => {} });
  try {
    reader.write(bytes);
    reader.end();
    return entries;
  } catch {
    return null;
  }
}

function clean(path: string): string {
  return path.replace(/^(\/|\.\/|\.$)+/, '').replace(/\/+$/, '') || '.';
}

/** The store's entry as the agent would tell it. */
function asAgent(entry: TarEntry): Omit<AgentEntry, 'contents'> {
  const type = TYPES[entry.type];
  const device = entry.type === 'char' || entry.type === 'block';
  return {
    type,
    path: clean(entry.path),
    linkname: type === '1' ? clean(entry.linkname) : entry.linkname,
    size: entry.size,
    uid: entry.uid,
    gid: entry.gid,
    mode: entry.mode,
    mtime: [entry.mtime.seconds, entry.mtime.nanoseconds],
    device: device ? [entry.devMajor, entry.devMinor] : [0, 0],
    xattrs: [...(entry.xattrs ?? [])]
      .filter(([key]) => /^[^\0]{1,255}$/s.test(key))
      .map(([key, value]) => [key, value.toString('latin1')]),
  };
}

/**
 * Converts the agent's entry to the store's form. The store keeps the last of equal attributes, and
 * no empty ones.
 */
function asStore({ contents: _, ...entry }: AgentEntry): Omit<AgentEntry, 'contents'> {
  return { ...entry, xattrs: [...new Map(entry.xattrs.filter(([, value]) => value !== ''))] };
}

describe('a V7 archive', () => {
  test('has directories whose names end with a slash', () => {
    const archive = tar([
      { path: 'a/', type: '\0' },
      { path: 'b', type: '\0', data: 'data' },
    ]);
    expect(read(archive).entries).toMatchObject([
      { type: '5', path: 'a' },
      { type: '0', path: 'b', contents: 'data' },
    ]);
  });
});

describe('archives by chance', () => {
  const batch = (item: fc.Arbitrary<Buffer>) => fc.array(item, { minLength: 50, maxLength: 100 });

  function expectSound(bytes: Buffer, { entries, error }: ReadArchive): void {
    expect(error === null || error.length > 0).toBe(true);
    expect(entries.length).toBeLessThanOrEqual(bytes.length / 512);
    for (const { path, type, linkname } of entries) {
      for (const some of type === '1' ? [path, linkname] : [path]) {
        expect(some).not.toMatch(/^\/|^$|(^|\/)\.\.(\/|$)/);
      }
    }
  }

  test('mean the same to the agent and to the image store', () => {
    fc.assert(
      fc.property(batch(archive), (archives) => {
        for (const [index, result] of readArchives(program, archives).entries()) {
          expectSound(archives[index]!, result);
          if (result.error?.endsWith('..')) continue;
          expect(result.error).toBe(null);
          expect(result.entries.map(asStore)).toEqual(readByStore(archives[index]!)?.map(asAgent));
        }
      }),
      fuzzing(10),
    );
  });

  test('and damage are read inside of their bytes, and mean the same where both readers take them', () => {
    fc.assert(
      fc.property(batch(damaged), (archives) => {
        for (const [index, result] of readArchives(program, archives).entries()) {
          const bytes = archives[index]!;
          expectSound(bytes, result);
          // The store's reader knows further types and sparse files.
          if (result.error !== null || result.entries.some(({ type }) => !'0123456'.includes(type))) continue;
          const store = readByStore(bytes);
          if (store === null) continue;
          expect(result.entries.map(asStore)).toEqual(store.map(asAgent));
        }
      }),
      fuzzing(20),
    );
  });

  test('of any bytes are read or refused', () => {
    const bytes = fc.uint8Array({ maxLength: 2000 }).map((some) => Buffer.from(some));
    const records = fc
      .uint8Array({ maxLength: 300 })
      .map((some) => withExtension(Buffer.from(some).toString('latin1')));
    const digits = fc.stringMatching(/^( |\n|\d|=|a){0,40}$/).map((some) => withExtension(some));
    fc.assert(
      fc.property(batch(fc.oneof(bytes, records, digits)), (archives) => {
        for (const [index, result] of readArchives(program, archives).entries()) expectSound(archives[index]!, result);
      }),
      fuzzing(10),
    );
  });
});
