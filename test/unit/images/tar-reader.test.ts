// Proves that the tar reader reads every format of layers, and refuses damaged archives.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ImageError } from '../../../images/index.js';
import { parsePax } from '../../../images/tar/pax.js';
import { type TarEntry, TarReader } from '../../../images/tar/reader.js';
import { paxRecord, type TarMember, tar, tarMember } from '../../fixtures/tar-writer.js';

type Read = TarEntry & { data: Buffer };

/** Reads an archive that is passed in pieces of `pieceLength` bytes. */
function read(archive: Buffer, pieceLength = archive.length): Read[] {
  const entries: Read[] = [];
  const reader = new TarReader({
    entry: (entry) => entries.push({ ...entry, data: Buffer.alloc(Math.min(entry.size, 1 << 20)) }),
    data(offset, bytes) {
      const { data } = entries.at(-1)!;
      expect(offset + bytes.length).toBeLessThanOrEqual(data.length);
      bytes.copy(data, offset);
    },
  });
  for (let at = 0; at < archive.length; at += pieceLength) reader.write(archive.subarray(at, at + pieceLength));
  reader.end();
  return entries;
}

function failure(code: string, message?: RegExp): unknown {
  return expect.objectContaining({
    name: 'ImageError',
    code,
    ...(message && { message: expect.stringMatching(message) }),
  });
}

describe('a tar entry', () => {
  test('has all the fields of its PAX records', () => {
    const [entry] = read(
      tar([
        {
          path: `${'d/'.repeat(90)}\xff\xfe name`,
          mode: 0o6711,
          uid: 3_000_000_000,
          gid: 70_000,
          mtime: [1_234_567_890, 123_456_789],
          data: 'hello',
          xattrs: { 'security.capability': '\x01\0\0\x02\x80\xff\n=\n', 'user.\xe4': 'x' },
        },
      ]),
    );
    expect(entry).toMatchObject({
      type: 'file',
      path: `${'d/'.repeat(90)}\xff\xfe name`,
      mode: 0o6711,
      uid: 3_000_000_000,
      gid: 70_000,
      size: 5,
      mtime: { seconds: 1_234_567_890, nanoseconds: 123_456_789 },
    });
    expect(entry!.data.toString()).toBe('hello');
    expect([...entry!.xattrs!].map(([name, value]) => [name, value.toString('latin1')])).toEqual([
      ['security.capability', '\x01\0\0\x02\x80\xff\n=\n'],
      ['user.\xe4', 'x'],
    ]);
  });

  test('has all the fields of its GNU headers', () => {
    const path = `${'p'.repeat(150)}\xe4`;
    const link = 'l'.repeat(150);
    const [entry] = read(tar([{ path, type: '2', link, uid: 5_000_000, gid: 2 ** 32 - 1, format: 'gnu' }]));
    expect(entry).toMatchObject({ type: 'symlink', path, linkname: link, uid: 5_000_000, gid: 2 ** 32 - 1 });
  });

  test('has a time before 1970 to the nanosecond', () => {
    const [entry] = read(tar([{ path: 'a', mtime: [-2, 500_000_000] }]));
    expect(entry!.mtime).toEqual({ seconds: -2, nanoseconds: 500_000_000 });
    expect(parsePax(Buffer.from(paxRecord(['mtime', '-1']))).mtime).toEqual({ seconds: -1, nanoseconds: 0 });
    expect(parsePax(Buffer.from(paxRecord(['mtime', '7.1234567899']))).mtime).toEqual({
      seconds: 7,
      nanoseconds: 123_456_789,
    });
  });

  test('has the size of its PAX record, above the 8 GiB that fit into a header', () => {
    const entries: TarEntry[] = [];
    const reader = new TarReader({ entry: (entry) => entries.push(entry), data() {} });
    reader.write(tarMember({ path: 'big', pax: { size: `${20 * 2 ** 30}` } }));
    expect(entries[0]!.size).toBe(20 * 2 ** 30);
  });

  test('has no body if its type has none, whatever its size field says', () => {
    const entries = read(tar([{ path: 'dir/', type: '5', size: 4096 }, { path: 'after' }]));
    expect(entries.map(({ path, size }) => [path, size])).toEqual([
      ['dir/', 0],
      ['after', 0],
    ]);
  });

  test('is a directory in a V7 archive if its name ends with a slash', () => {
    expect(read(tar([{ path: 'old/', type: '\0' }]))[0]!.type).toBe('directory');
  });

  test('is not changed by global headers and volume labels', () => {
    const members: TarMember[] = [
      { path: 'label', type: 'V' },
      { path: 'g', type: 'g', data: paxRecord(['path', 'elsewhere']) },
      { path: 'here' },
    ];
    expect(read(tar(members)).map(({ path }) => path)).toEqual(['here']);
  });

  test('may have a checksum of signed bytes', () => {
    const archive = tar([{ path: '\xff\xff' }]);
    const sum = Number.parseInt(archive.toString('latin1', 148, 154), 8);
    archive.write((sum - 2 * 256).toString(8).padStart(6, '0'), 148, 'latin1');
    expect(read(archive)[0]!.path).toBe('\xff\xff');
  });

  test('is the same for an archive in pieces of any size', () => {
    const archive = tar([
      { path: 'a', data: 'x'.repeat(1000), xattrs: { 'user.a': 'b' } },
      { path: 'b'.repeat(200), data: 'y'.repeat(512), format: 'gnu' },
      { path: 'c/', type: '5' },
    ]);
    const whole = read(archive);
    for (const length of [1, 7, 511, 512, 513, 4096]) expect(read(archive, length)).toEqual(whole);
  });
});

describe('a sparse file written by GNU tar', () => {
  let work: string;
  const contents = Buffer.alloc(700_000);

  beforeAll(() => {
    work = mkdtempSync(join(tmpdir(), 'tsvm-sparse-'));
    const file = openSync(join(work, 'sparse'), 'w');
    // More islands of data than an old GNU header and its first extension block can list.
    for (let i = 0; i < 60; i++) {
      const text = `island ${i}`;
      writeSync(file, text, i * 10_000 + 3);
      contents.write(text, i * 10_000 + 3);
    }
    closeSync(file);
    truncateSync(join(work, 'sparse'), contents.length);
    writeFileSync(join(work, 'after'), 'after');
  });

  afterAll(() => {
    rmSync(work, { recursive: true, force: true });
  });

  test.each([
    ['old GNU', ['--format=gnu']],
    ['PAX 0.0', ['--format=pax', '--sparse-version=0.0']],
    ['PAX 0.1', ['--format=pax', '--sparse-version=0.1']],
    ['PAX 1.0', ['--format=pax', '--sparse-version=1.0']],
  ])('is read whole: %s', (_, options) => {
    const archive = execFileSync('tar', ['-C', work, '-cS', ...options, 'sparse', 'after'], { maxBuffer: 1 << 26 });
    for (const pieceLength of [archive.length, 1000]) {
      const [sparse, after] = read(archive, pieceLength);
      expect(sparse!.path).toBe('sparse');
      expect(sparse!.size).toBe(contents.length);
      expect(sparse!.data.equals(contents)).toBe(true);
      expect(after!.data.toString()).toBe('after');
    }
  });
});

describe('a damaged archive', () => {
  const archive = tar([
    { path: 'a', data: 'x'.repeat(1000), mtime: [1, 1], xattrs: { 'user.a': 'b' } },
    { path: 'b'.repeat(200), data: 'y'.repeat(512), format: 'gnu' },
    { path: 's', type: 'S', data: 'z' },
  ]);

  test('is detected wherever it is cut off', () => {
    const boundaries = new Set<number>();
    for (let length = 1; length < archive.length - 1024; length++) {
      try {
        read(archive.subarray(0, length));
        boundaries.add(length);
      } catch (error) {
        expect(error).toBeInstanceOf(ImageError);
      }
    }
    // An archive may end without an end mark between entries.
    expect(boundaries.size).toBe(2);
  });

  test.each<[string, Buffer, unknown]>([
    ['text', Buffer.from('no tar at all '.repeat(100)), failure('not-an-image', /not a tar/)],
    ['nothing', Buffer.alloc(0), failure('not-an-image')],
    ['a bad checksum', Buffer.concat([tarMember({ path: 'a' }), Buffer.alloc(512, 1)]), failure('corrupt', /checksum/)],
    ['data after half an end mark', Buffer.concat([Buffer.alloc(512), tar([{ path: 'a' }])]), failure('corrupt')],
    ['an unknown type', tar([{ path: 'a', type: 'D' }]), failure('unsupported')],
    ['a record without length', tar([{ path: 'x', type: 'x', data: 'path=a\n' }]), failure('corrupt', /PAX/)],
    ['a record longer than its header', tar([{ path: 'x', type: 'x', data: '99 path=a\n' }]), failure('corrupt')],
    ['a record of no length', tar([{ path: 'x', type: 'x', data: '0 path=a\n' }]), failure('corrupt')],
    ['a NUL in a name', tar([{ path: 'a', pax: { path: 'a\0b' } }]), failure('corrupt')],
    ['a negative size', tar([{ path: 'a', pax: { size: '-1' } }]), failure('corrupt')],
    ['an owner of 33 bits', tar([{ path: 'a', pax: { uid: '4294967296' } }]), failure('corrupt')],
    ['headers of 2 MiB', tar([{ path: 'a', xattrs: { 'user.a': 'x'.repeat(2 << 20) } }]), failure('too-large')],
    [
      'repeated headers, 1.5 MB in all',
      Buffer.concat(Array.from({ length: 3 }, () => tarMember({ path: 'L', type: 'L', data: 'x'.repeat(500_000) }))),
      failure('too-large'),
    ],
    [
      'overlapping segments',
      tar([{ path: 'a', data: 'xxxx', pax: { 'GNU.sparse.map': '0,2,1,2', 'GNU.sparse.size': '9' } }]),
      failure('corrupt', /sparse/),
    ],
    [
      'segments outside the file',
      tar([{ path: 'a', data: 'xxxx', pax: { 'GNU.sparse.map': '8,4', 'GNU.sparse.size': '9' } }]),
      failure('corrupt', /sparse/),
    ],
    [
      'a sparse table that never ends',
      tar([{ path: 'a', data: '9'.repeat(512), pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' } }]),
      failure('corrupt', /sparse/),
    ],
  ])('is refused: %s', (_, bytes, expected) => {
    expect(() => read(bytes)).toThrow(expected as Error);
  });
});
