// Proves that an imported root file system becomes an image with the expected files and config, and
// that an invalid one is refused and leaves nothing in the store.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { buildDumpTree } from '../../fixtures/layered-image.js';
import { type TarMember, tar } from '../../fixtures/tar-writer.js';
import { dumpDisk } from './disk-view.js';
import { failure } from './failure.js';
import { stored } from './stored.js';

let work: string;
let program: string;
let place: string;
let home: string;
let store: Store;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-import-'));
  program = buildDumpTree(work);
});

beforeEach(() => {
  place = mkdtempSync(join(work, 'test-'));
  home = join(place, 'home');
  store = openStore(home);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

async function* pieces(bytes: Buffer, length = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield new Uint8Array(bytes.subarray(at, at + length));
}

describe('an imported root file system', () => {
  const archive = tar([
    { path: './', type: '5', mode: 0o755 },
    { path: './a', data: 'a'.repeat(5000) },
  ]);

  test.each([
    ['plain', (bytes: Buffer) => bytes],
    ['gzip', (bytes: Buffer) => gzipSync(bytes)],
    ['zstd', (bytes: Buffer) => execFileSync('zstd', ['-cq'], { input: bytes })],
    ['xz', (bytes: Buffer) => execFileSync('xz', ['-cq'], { input: bytes })],
  ])('gives the same layer from a file and from a stream: %s', async (_, compress) => {
    const file = join(place, 'root.tar');
    writeFileSync(file, compress(archive));
    await store.import(file, 'file');
    await store.import(pieces(compress(archive)), 'stream');
    const [file1, file2] = await Promise.all([store.resolve('file'), store.resolve('stream')]);
    expect(file1.disk[1]).toEqual(file2.disk[1]);
    expect(dumpDisk(file1.disk, place, program)).toHaveLength(2);
  });

  test('has the config of docker import, with the requested changes', async () => {
    const before = new Date().toISOString();
    await store.import(pieces(archive), 'plain');
    const plain = await store.resolve('plain');
    expect(plain.config).toMatchObject({ os: 'linux', architecture: 'amd64', Cmd: [], Env: [], Entrypoint: [] });
    expect(plain.config.created >= before).toBe(true);
    await store.import(pieces(archive), 'changed', {
      config: { Labels: { a: 'b' }, User: 'nobody' },
      changes: ['CMD ["bash", "-l"]', 'ENV A=1', 'EXPOSE 80', 'USER app'],
    });
    expect((await store.resolve('changed')).config).toMatchObject({
      Cmd: ['bash', '-l'],
      Env: ['A=1'],
      ExposedPorts: ['80/tcp'],
      User: 'app',
      Labels: { a: 'b' },
    });
  });

  test('stays inside its root with any names', async () => {
    const outside = join(place, 'outside');
    const climbing: TarMember[] = [
      { path: '../../../../outside1', data: '1' },
      { path: `${outside}2`, data: '2' },
      { path: 'link', type: '2', link: '../../../../..' },
      { path: `link${outside}3`, data: '3' },
      { path: 'absolute', type: '2', link: place },
      { path: 'absolute/outside4', data: '4' },
      { path: 'hard', type: '1', link: '../../../../../outside1' },
    ];
    await store.import(pieces(tar(climbing)), 'climbing');
    expect(readdirSync(place)).toEqual(['home']);
    const paths = dumpDisk((await store.resolve('climbing')).disk, place, program).map((line) => line.split(' ')[0]);
    expect(paths).toEqual(
      expect.arrayContaining(['/outside1', `${outside}2`, `${outside}3`, `${place}/outside4`, '/hard']),
    );
  });

  test('gets the parents that it lacks', async () => {
    await store.import(pieces(tar([{ path: 'a/b/c', data: 'x' }])), 'sparse');
    const lines = dumpDisk((await store.resolve('sparse')).disk, place, program);
    expect(lines.slice(1, 3)).toEqual(['/a 040755 0:0 0.000000000', '/a/b 040755 0:0 0.000000000']);
  });

  test.each<[string, Buffer, object]>([
    ['text', Buffer.from('hello '.repeat(200)), failure('not-an-image', /not a tar/)],
    ['nothing', Buffer.alloc(0), failure('not-an-image')],
    ['bzip2', Buffer.from('BZh91AY&SY'), failure('unsupported', /bzip2/)],
    ['half a gzip', gzipSync(archive).subarray(0, 40), failure('corrupt', /gzip/)],
    ['half an xz', execFileSync('xz', ['-c'], { input: archive }).subarray(0, 60), failure('corrupt', /xz/)],
    ['gzip of text', gzipSync('hello'), failure('not-an-image')],
    ['a hard link to nothing', tar([{ path: 'a', type: '1', link: 'b' }]), failure('corrupt', /hard link to b/)],
    ['a hard link to itself', tar([{ path: 'a' }, { path: 'a', type: '1', link: 'a' }]), failure('corrupt')],
    ['a hard link to a directory', tar([{ path: 'a', type: '1', link: '/' }]), failure('corrupt')],
    ['a parent that is a file', tar([{ path: 'a' }, { path: 'a/b' }]), failure('corrupt', /parent is not a directory/)],
    ['a root that is a file', tar([{ path: './' }]), failure('corrupt', /root/)],
    ['a loop', tar([{ path: 'a', type: '2', link: 'a' }, { path: 'a/b' }]), failure('corrupt', /symbolic links/)],
    ['a whiteout of nothing', tar([{ path: 'a/.wh.' }]), failure('corrupt', /whiteout/)],
    ['a whiteout of its parent', tar([{ path: 'a/.wh...' }]), failure('corrupt', /whiteout/)],
    ['a link to nowhere', tar([{ path: 'a', type: '2', link: '' }]), failure('corrupt', /target/)],
    ['a device out of range', tar([{ path: 'a', type: '3', device: [4096, 0] }]), failure('corrupt', /4096:0/)],
    [
      'links that lead through too many path components',
      tar([
        { path: 'l0', type: '2', link: './'.repeat(2000) },
        ...Array.from({ length: 250 }, (_, i) => ({
          path: `l${i + 1}`,
          type: '2',
          link: `l${i}/${'./'.repeat(1900)}`,
        })),
        ...Array.from({ length: 300 }, (_, i) => ({ path: `l250/f${i}/../../l250/x` })),
        ...Array.from({ length: 300 }, (_, i) => ({ path: `l250/l250/l250/y${i}/x` })),
      ]),
      failure('corrupt', /symbolic links/),
    ],
  ])('is refused and leaves nothing behind: %s', async (_, bytes, expected) => {
    await expect(store.import(pieces(bytes, 1 << 20), 'bad')).rejects.toEqual(expected);
    expect(stored(home)).toEqual([]);
  });

  test('names the program that is missing to decompress it', async () => {
    const path = process.env.PATH;
    const bytes = execFileSync('zstd', ['-cq'], { input: archive });
    process.env.PATH = place;
    try {
      await expect(store.import(pieces(bytes), 'bad')).rejects.toEqual(failure('missing-program', /apt install zstd/));
    } finally {
      process.env.PATH = path;
    }
  });

  test('that does not fit on the disk leaves nothing behind', async () => {
    const mount = join(place, 'home');
    execFileSync('mkdir', [mount]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
    try {
      const large = tar([{ path: 'a', data: Buffer.alloc(3 << 20, 1) }]);
      await expect(store.import(pieces(large), 'large')).rejects.toEqual(failure('no-space'));
      expect(stored(home)).toEqual([]);
      await store.import(pieces(archive), 'small');
      expect(readFileSync((await store.resolve('small')).disk[1]!.path)).toHaveLength(8192);
    } finally {
      execFileSync('umount', [mount]);
    }
  });
});
