// Proves that an image beyond any limit of images/limits.ts is refused with the limit in the
// message, and leaves nothing in the store.
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { convertLayer } from '../../../images/layer/convert.js';
import { checkTotalLength, type LayerEntry } from '../../../images/layer/layer-index.js';
import { mergeLayers } from '../../../images/layer/merge.js';
import * as limits from '../../../images/limits.js';
import { plainLayer, sha256, writeLayout } from '../../fixtures/oci-layout.js';
import { type TarMember, tar, tarMember } from '../../fixtures/tar-writer.js';
import { exceeded } from './failure.js';
import { stored } from './stored.js';

const MIB = 1 << 20;

let work: string;
let place: string;
let home: string;
let store: Store;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-limits-'));
});

beforeEach(() => {
  place = mkdtempSync(join(work, 'test-'));
  home = join(place, 'home');
  store = openStore(home);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

/** Yields the members `times` times, in chunks of about 1 MiB, and then the end mark. */
async function* endless(members: TarMember[], times: number): AsyncGenerator<Buffer> {
  const once = Buffer.concat(members.map(tarMember));
  const perPiece = Math.max(1, Math.floor(MIB / once.length));
  const piece = Buffer.concat(Array.from({ length: perPiece }, () => once));
  for (let i = 0; i < times; i += perPiece) yield piece;
  yield Buffer.alloc(1024);
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

const sparse = (path: string, size: number): TarMember => ({
  path,
  pax: { 'GNU.sparse.map': `${size},0`, 'GNU.sparse.size': `${size}`, 'GNU.sparse.name': path },
});

const LAYERS: [string, number, () => AsyncIterable<Buffer>][] = [
  [
    'entries',
    limits.MAX_ENTRIES_PER_LAYER,
    () => endless([{ path: 'a', type: '6' }], limits.MAX_ENTRIES_PER_LAYER + 1),
  ],
  [
    'bytes of names',
    limits.MAX_INDEX_HEAP_BYTES,
    () => endless([{ path: 'a', type: '2', link: 'x'.repeat(4095) }], limits.MAX_INDEX_HEAP_BYTES / 4095 + 1),
  ],
  [
    'bytes of attributes',
    limits.MAX_INDEX_HEAP_BYTES,
    () => endless([{ path: 'a', xattrs: { 'user.a': 'x'.repeat(65_000) } }], limits.MAX_INDEX_HEAP_BYTES / 65_000 + 1),
  ],
  ['bytes of a name', limits.MAX_NAME_BYTES, () => once(tar([{ path: 'x'.repeat(256) }]))],
  ['bytes of a whiteout', limits.MAX_NAME_BYTES, () => once(tar([{ path: `.wh.${'x'.repeat(256)}` }]))],
  ['bytes of a path', limits.MAX_PATH_BYTES, () => once(tar([{ path: 'x/'.repeat(2049) }]))],
  ['bytes of a hard link', limits.MAX_PATH_BYTES, () => once(tar([{ path: 'a', type: '1', link: 'x/'.repeat(2049) }]))],
  ['nested directories', limits.MAX_DEPTH, () => once(tar([{ path: `${'d/'.repeat(1025)}f` }]))],
  [
    'nested directories through symbolic links',
    limits.MAX_DEPTH,
    () => once(tar([{ path: 'l', type: '2', link: 'd/'.repeat(1000) }, { path: `l/${'e/'.repeat(100)}f` }])),
  ],
  [
    'bytes of a name through symbolic links',
    limits.MAX_NAME_BYTES,
    () => once(tar([{ path: 'l', type: '2', link: 'd'.repeat(256) }, { path: 'l/f' }])),
  ],
  [
    'bytes of PAX records',
    limits.MAX_EXTENDED_HEADER_BYTES,
    () => once(tar([{ path: 'a', pax: { comment: 'x'.repeat(MIB) } }])),
  ],
  [
    'bytes of a GNU name',
    limits.MAX_EXTENDED_HEADER_BYTES,
    () => once(tar([{ path: 'x'.repeat(MIB), format: 'gnu' }])),
  ],
  [
    'bytes of consecutive extended headers',
    limits.MAX_EXTENDED_HEADER_BYTES,
    () => endless([{ path: 'L', type: 'L', data: 'x' }], 2000),
  ],
  [
    'bytes in the size field of an extended header',
    limits.MAX_EXTENDED_HEADER_BYTES,
    () => once(tar([{ path: 'x', type: 'x', size: 2 ** 33 - 1, data: '' }])),
  ],
  [
    "bytes of an attribute's name",
    limits.MAX_NAME_BYTES,
    () => once(tar([{ path: 'a', xattrs: { [`user.${'n'.repeat(251)}`]: 'x' } }])),
  ],
  [
    'bytes of an attribute',
    limits.MAX_XATTR_VALUE_BYTES,
    () => once(tar([{ path: 'a', xattrs: { 'user.a': 'x'.repeat(65_536) } }])),
  ],
  [
    "bytes of a file's attributes",
    limits.MAX_XATTR_BYTES,
    () =>
      once(
        tar([
          {
            path: 'a',
            xattrs: { 'user.a': 'x'.repeat(60_000), 'user.b': 'x'.repeat(60_000), 'user.c': 'x'.repeat(60_000) },
          },
        ]),
      ),
  ],
  [
    'segments of a sparse file',
    limits.MAX_SPARSE_SEGMENTS,
    () =>
      once(
        tar([
          {
            path: 'a',
            data: `${limits.MAX_SPARSE_SEGMENTS + 1}\n`.padEnd(512, '0\n'),
            pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' },
          },
        ]),
      ),
  ],
  ['bytes of a file', limits.MAX_FILE_BYTES, () => once(tar([sparse('a', limits.MAX_FILE_BYTES + 1)]))],
  [
    "bytes of a layer's files",
    limits.MAX_LAYER_DATA_BYTES,
    () => once(tar(['a', 'b', 'c'].map((path) => sparse(path, limits.MAX_FILE_BYTES)))),
  ],
];

describe('a layer', () => {
  test.each(LAYERS)('with too many %s is refused, and nothing is kept', async (_, limit, layer) => {
    await expect(store.import(layer(), 'bomb')).rejects.toEqual(exceeded(limit));
    expect(stored(home)).toEqual([]);
  });

  test('longer than the limit of a tar is refused', async () => {
    const files = await Promise.all(['data', 'framing'].map((name) => open(join(place, name), 'w')));
    const layer = endless([{ path: 'a', data: Buffer.alloc(MIB, 1) }], 100);
    await expect(convertLayer(layer, files[0]!, files[1]!, 10 * MIB)).rejects.toEqual(exceeded(10 * MIB));
    await Promise.all(files.map((file) => file.close()));
  });

  test.each(['gzip'])('whose %s data expand too far is refused, in little memory', async (program) => {
    const compress = (input: Buffer): Buffer => execFileSync(program, ['-c', '-9'], { input, maxBuffer: 1 << 30 });
    // The header of a file of 4 GiB, followed by zeros. Compressed data may be concatenated.
    const zeros = compress(Buffer.alloc(64 * MIB));
    const file = join(place, 'bomb');
    writeFileSync(file, compress(tarMember({ path: 'zeros', size: 2 ** 32, data: '' })));
    for (let i = 0; i < 17; i++) appendFileSync(file, zeros);
    const before = process.memoryUsage().rss;
    await expect(store.import(file, 'bomb')).rejects.toEqual(exceeded(limits.MAX_EXPANSION_RATIO));
    expect(process.memoryUsage().rss - before).toBeLessThan(256 * MIB);
    expect(stored(home)).toEqual([]);
  });

  test('of less than MAX_EXPANSION_BYTES may exceed MAX_EXPANSION_RATIO', async () => {
    const zeros = gzipSync(Buffer.concat([tarMember({ path: 'zeros', data: Buffer.alloc(64 * MIB) })]));
    expect(64 * MIB).toBeGreaterThan(zeros.length * limits.MAX_EXPANSION_RATIO);
    await store.import(once(zeros), 'image');
  });
});

describe('an image', () => {
  const node = (path: string, more: Partial<LayerEntry> = {}): LayerEntry => ({
    kind: 'fifo',
    path,
    link: '',
    mode: 0,
    uid: 0,
    gid: 0,
    mtime: { seconds: 0, nanoseconds: 0 },
    size: 0,
    page: 0,
    device: 0,
    xattrs: null,
    ...more,
  });

  function* many(count: number, make: (i: number) => LayerEntry): Generator<LayerEntry> {
    for (let i = 0; i < count; i++) yield make(i);
  }

  test('with too many entries in all layers is refused', () => {
    const layer = Array.from({ length: 10_000 }, () => node('a'));
    const layers = Array.from({ length: limits.MAX_ENTRIES_PER_IMAGE / layer.length + 1 }, () => layer);
    expect(() => mergeLayers(layers)).toThrow(exceeded(limits.MAX_ENTRIES_PER_IMAGE) as Error);
  });

  test('with too many names is refused, including parents that no layer mentions', () => {
    const deep = 'd/'.repeat(limits.MAX_DEPTH - 2);
    const layer = many(1000, (i) => node(`${i}/${deep}f`));
    expect(() => mergeLayers([layer])).toThrow(exceeded(limits.MAX_NAMES_PER_IMAGE) as Error);
  });

  test('whose symbolic links lead through too many path components is refused', () => {
    const links = [
      node('l0', { kind: 'symlink', link: './'.repeat(2000) }),
      ...many(200, (i) => node(`l${i + 1}`, { kind: 'symlink', link: `l${i}/${'./'.repeat(2000)}` })),
    ];
    const layer = many(1000, (i) => node(`l200/${i}/f`));
    expect(() => mergeLayers([links, layer])).toThrow(exceeded(limits.MAX_PATH_STEPS_PER_IMAGE) as Error);
  });

  test('with too many bytes of indexes is refused', () => {
    const index = { length: limits.MAX_INDEX_BYTES_PER_IMAGE / 2 };
    checkTotalLength([index, index]);
    expect(() => checkTotalLength([index, index, index])).toThrow(exceeded(limits.MAX_INDEX_BYTES_PER_IMAGE) as Error);
  });

  test('whose disk is too large for EROFS is refused', async () => {
    const layers = ['a', 'b'].map((path) => tar([sparse(path, limits.MAX_FILE_BYTES), sparse(`${path}2`, 4096e9)]));
    writeLayout(join(place, 'layout'), [...layers, tar([sparse('c', limits.MAX_FILE_BYTES)])]);
    await expect(store.resolve(`oci:${place}/layout`)).rejects.toEqual(exceeded(limits.MAX_IMAGE_BYTES));
    expect(stored(home)).toEqual([]);
  });

  test('with too many layers is refused', async () => {
    const layer = tar([{ path: 'a' }]);
    const layers = Array.from({ length: limits.MAX_LAYERS + 1 }, () => layer);
    writeLayout(join(place, 'layout'), layers, { compress: plainLayer });
    await expect(store.resolve(`oci:${place}/layout`)).rejects.toEqual(exceeded(limits.MAX_LAYERS));
    expect(stored(home)).toEqual([]);
  });

  test('whose config is too large is refused', async () => {
    writeLayout(join(place, 'layout'), [], { config: { Labels: { a: 'x'.repeat(limits.MAX_JSON_BYTES) } } });
    await expect(store.resolve(`oci:${place}/layout`)).rejects.toEqual(exceeded(limits.MAX_JSON_BYTES));
    expect(stored(home)).toEqual([]);
  });

  test.each(['index.json', 'the manifest'])('whose JSON is too large is refused: %s', async (what) => {
    const layout = join(place, 'layout');
    writeLayout(layout, []);
    const large = Buffer.alloc(limits.MAX_JSON_BYTES + 1, ' ');
    if (what === 'index.json') {
      writeFileSync(join(layout, 'index.json'), large);
    } else {
      const mediaType = 'application/vnd.oci.image.manifest.v1+json';
      const manifest = { mediaType, digest: sha256(large), size: large.length };
      writeFileSync(join(layout, 'blobs/sha256', manifest.digest.slice(7)), large);
      writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
    }
    await expect(store.resolve(`oci:${layout}`)).rejects.toEqual(exceeded(limits.MAX_JSON_BYTES));
    expect(stored(home)).toEqual([]);
  });
});

describe('an archive', () => {
  test.each<[string, number, () => Buffer]>([
    [
      'entries',
      limits.MAX_ARCHIVE_ENTRIES,
      () => tar(Array.from({ length: limits.MAX_ARCHIVE_ENTRIES + 1 }, (_, i) => ({ path: `${i}` }))),
    ],
    ['bytes of a name', limits.MAX_PATH_BYTES, () => tar([{ path: 'x'.repeat(5000), format: 'gnu' }])],
    ['bytes of a link', limits.MAX_PATH_BYTES, () => tar([{ path: 'x', type: '2', link: 'x'.repeat(5000) }])],
    [
      'bytes of manifest.json',
      limits.MAX_JSON_BYTES,
      () => tar([{ path: 'manifest.json', data: Buffer.alloc(limits.MAX_JSON_BYTES + 1, ' ') }]),
    ],
  ])('with too many %s is refused', async (_, limit, archive) => {
    const file = join(place, 'archive.tar');
    writeFileSync(file, archive());
    await expect(store.resolve(`docker-archive:${file}`)).rejects.toEqual(exceeded(limit));
    expect(stored(home)).toEqual([]);
  });
});
