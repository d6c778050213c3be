// ADD unpacks archives as tar does, and hostile ones only into the image, or not at all.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openArchive } from '../../../build/solve/unpack.js';
import { buildStore, END_MARK, entryHeader } from '../../../images/build.js';
import { tar as anyTar } from '../../fixtures/tar-writer.js';
import { FILE, type Item, tar } from './archive.js';
import { Workshop } from './made.js';

let shop: Workshop;

beforeEach(() => {
  shop = new Workshop();
  shop.write({ a: 'A' });
});

afterEach(() => shop[Symbol.dispose]());

/** The files that ADD makes of x.tar. */
async function added(archive: Buffer, dockerfile: string): Promise<string[]> {
  shop.write({});
  writeFileSync(join(shop.context, 'x.tar'), archive);
  return (await shop.build(`FROM scratch\n${dockerfile}`)).files();
}

describe('an archive', () => {
  const plain = tar({ path: 'd/', mode: 0o750, uid: 5, gid: 6 }, { path: 'd/f', text: 'F', mode: 0o4711, uid: 7 });
  const there = ['750 5:6 /d/', '4711 7:0 /d/f "F"'];

  test.each<[string, string[]]>([
    ['ADD x.tar /', there],
    ['ADD x.tar /n/m', ['755 0:0 /n/', '755 0:0 /n/m/', '750 5:6 /n/m/d/', '4711 7:0 /n/m/d/f "F"']],
    ['ADD --chown=1:2 --chmod=700 x.tar /x/', ['755 1:2 /x/', '750 5:6 /x/d/', '4711 7:0 /x/d/f "F"']],
    ['ADD x.tar a /', ['644 0:0 /a "A"', ...there]],
    ['ADD --unpack=true x.tar /', there],
  ])('%s', async (dockerfile, expected) => {
    expect(await added(plain, dockerfile)).toEqual(expected);
    expect(await added(gzipSync(plain), dockerfile)).toEqual(expected);
  });

  test('that is not to be unpacked, or is none, is copied', async () => {
    expect(await added(plain, 'COPY x.tar /')).toHaveLength(1);
    expect(await added(plain, 'ADD --unpack=false x.tar /')).toHaveLength(1);
    expect(await added(gzipSync('only compressed'), 'ADD x.tar /')).toHaveLength(1);
    expect(await added(Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.from('no gzip')]), 'ADD x.tar /')).toHaveLength(
      1,
    );
    expect(await added(Buffer.alloc(4096), 'ADD x.tar /')).toHaveLength(1);
    // Only the outer compression goes.
    expect(await added(gzipSync(gzipSync(plain)), 'ADD x.tar /')).toHaveLength(1);
  });

  test('replaces what has the name of an entry, and goes through links on the way to it', async () => {
    const archive = tar({ path: 'bin/f', text: 'F' }, { path: 'real/', mode: 0o700 }, { path: 'a', text: 'B' });
    const links = tar({ path: 'usr/bin/' }, { path: 'bin', type: 'symlink', linkname: 'usr/bin' });
    writeFileSync(join(shop.context, 'links.tar'), links);
    expect(await added(archive, 'ADD links.tar a /\nADD x.tar /')).toEqual([
      ...['644 0:0 /a "B"', '/bin -> usr/bin', '700 0:0 /real/', '755 0:0 /usr/', '755 0:0 /usr/bin/'],
      '644 0:0 /usr/bin/f "F"',
    ]);
    expect(await added(tar({ path: 'bin/' }), 'ADD links.tar /\nADD x.tar /')).toEqual([
      ...['755 0:0 /bin/', '755 0:0 /usr/', '755 0:0 /usr/bin/'],
    ]);
  });

  test.each([
    ['the archive', 'ADD x.tar /'],
    ['the image', 'ADD links.tar /\nADD x.tar /'],
  ])('does not go through a link of %s whose directory it has replaced', async (where, dockerfile) => {
    const links: Item[] = [{ path: 'e/' }, { path: 'd/' }, { path: 'd/s', type: 'symlink', linkname: '/e' }];
    const later: Item[] = [{ path: 'd', text: 'file' }, { path: 'd/' }, { path: 'd/s/f', text: 'F' }];
    writeFileSync(join(shop.context, 'links.tar'), tar(...links));
    const archive = where === 'the image' ? tar(...later) : tar(...links, ...later);
    expect(await added(archive, dockerfile)).toEqual([
      ...['755 0:0 /d/', '755 0:0 /d/s/', '644 0:0 /d/s/f "F"', '755 0:0 /e/'],
    ]);
  });

  test('may have the same name twice, and links to the first', async () => {
    const archive = tar(
      { path: 'f', text: 'one' },
      { path: 'g', type: 'link', linkname: './f' },
      { path: 'f', text: 'two' },
      { path: './', mode: 0o711 },
    );
    expect(await added(archive, 'ADD x.tar /w/')).toEqual(['711 0:0 /w/', '644 0:0 /w/f "two"', '644 0:0 /w/g "one"']);
  });
});

describe('a hostile archive', () => {
  test('leads nowhere out of the root', async () => {
    const archive = tar(
      { path: '../../up', text: '1' },
      { path: '/etc/absolute', text: '2' },
      { path: 'out', type: 'symlink', linkname: '../../../../..' },
      { path: 'out/f', text: '3' },
      { path: 'host', type: 'symlink', linkname: '/' },
      { path: 'host/g', text: '4' },
    );
    const text = ['644 0:0 /f "3"', '644 0:0 /g "4"', '755 0:0 /w/', '755 0:0 /w/etc/', '644 0:0 /w/etc/absolute "2"'];
    expect(await added(archive, 'ADD x.tar /w/')).toEqual([
      ...text,
      ...['/w/host -> /', '/w/out -> ../../../../..', '644 0:0 /w/up "1"'],
    ]);
  });

  test.each<[string, Buffer, string]>([
    [
      'a hard link to nothing',
      tar({ path: 'l', type: 'link', linkname: 'none' }),
      'l cannot be applied: it is a hard link to none',
    ],
    [
      'a hard link to a directory',
      tar({ path: 'd/' }, { path: 'l', type: 'link', linkname: 'd' }),
      'l cannot be applied: it is a hard link to a directory',
    ],
    [
      'a circle of links',
      tar({ path: 'l', type: 'symlink', linkname: 'l' }, { path: 'l/f' }),
      'too many symbolic links',
    ],
    ['a file as a directory', tar({ path: 'f' }, { path: 'f/g' }), 'its parent is not a directory'],
    ['a name that is too long', tar({ path: 'n'.repeat(300) }), 'x.tar: the layer has a name of 300 bytes'],
    ['an end in the middle', tar({ path: 'f', text: 'F'.repeat(600) }).subarray(0, 700), 'cannot unpack x.tar'],
    [
      'damage after its start',
      gzipSync(tar({ path: 'f', text: 'F'.repeat(1 << 20) })).subarray(0, -4),
      'cannot unpack x.tar',
    ],
  ])('%s is refused', async (_, archive, message) => {
    await expect(added(archive, 'ADD x.tar /')).rejects.toThrow(message);
  });

  test('of holes alone is refused', async () => {
    const size = 2 ** 40;
    const pax = { 'GNU.sparse.size': `${size}`, 'GNU.sparse.numblocks': '1', 'GNU.sparse.map': `${size},0` };
    const archive = anyTar([{ path: 'f', pax }]);
    await expect(added(archive, 'ADD x.tar /')).rejects.toThrow('its files expand to more than 500 times its size');
  });

  test('whose links take long to follow is refused', async () => {
    const long = 'd/../'.repeat(800);
    const links = Array.from({ length: 40 }, (_, at) => ({
      ...{ path: `l${at}`, type: 'symlink' as const, linkname: at === 0 ? 'd' : `${long}l${at - 1}` },
    }));
    const files = Array.from({ length: 200 }, (_, at) => ({ path: `l39/${at}` }));
    await expect(added(tar({ path: 'd/' }, ...links, ...files), 'ADD x.tar /')).rejects.toThrow('are too long');
  });

  test('gives no whiteouts', async () => {
    const archive = tar({ path: '.wh.a' }, { path: '.wh..wh..opq' }, { path: 'b', text: 'B' });
    expect(await added(archive, 'COPY a /\nADD x.tar /')).toEqual(['644 0:0 /a "A"', '644 0:0 /b "B"']);
  });
});

test('the unpacking of an archive ends when the build is aborted', async () => {
  const store = buildStore(shop.home.path);
  await using cache = await store.begin();
  const controller = new AbortController();
  let read = 0;
  const bytes = function* () {
    yield entryHeader({ ...FILE, path: 'f', size: 100 << 20 });
    for (; read < 100; read++) {
      if (read === 10) controller.abort(new Error('by the user'));
      yield Buffer.alloc(1 << 20);
    }
    yield END_MARK;
  };
  await expect(openArchive('x.tar', bytes, { cache, store, signal: controller.signal })).rejects.toThrow('by the user');
  expect(read).toBe(10);
});

test('a fault of the disk is an error of one line', async () => {
  const store = buildStore(shop.home.path);
  await using cache = await store.begin();
  const bytes = async function* () {
    rmSync(join(shop.home.path, 'store-2/tmp'), { recursive: true });
    yield tar({ path: 'f' });
  };
  const failure = (does: string) => ({ name: 'ImageError', message: expect.stringContaining(`${does}: ENOENT`) });
  await expect(cache.unpack(bytes())).rejects.toMatchObject(failure('cannot unpack an archive'));
  await expect(cache.spool(Readable.from([]))).rejects.toMatchObject(failure('cannot keep a file of a build'));
});
