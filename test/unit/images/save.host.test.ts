// Proves that a saved archive has the original layers byte for byte, is accepted by other tools,
// and that damage in the store is detected.
import { execFileSync } from 'node:child_process';
import { createWriteStream, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { STORE } from '../../../images/store/layout.js';
import { sha256, writeLayout } from '../../fixtures/oci-layout.js';
import { Random } from '../../fixtures/random.js';
import { type TarMember, tar } from '../../fixtures/tar-writer.js';
import { checkedDisk } from './disk-view.js';
import { failure } from './failure.js';

let work: string;
let place: string;
let store: Store;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-save-'));
});

beforeEach(() => {
  place = mkdtempSync(join(work, 'test-'));
  store = openStore(join(place, 'home'));
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

/**
 * Layers with every feature of tars: sparse files, long names, attributes, whiteouts, data behind
 * the end mark.
 */
const BASE = tar([
  { path: 'd/', type: '5', mode: 0o755 },
  { path: 'd/file', data: 'contents', mtime: [1_700_000_000, 123_456_789], xattrs: { 'user.a': 'b\0c' } },
  { path: 'd/empty' },
  { path: 'd/hard', type: '1', link: 'd/file' },
  { path: `d/${'long'.repeat(50)}`, data: Buffer.alloc(70_000, 7), format: 'gnu' },
  { path: 'd/\xff\xfe', type: '2', link: 'nowhere' },
  { path: 'd/zeros', data: Buffer.alloc(1 << 20) },
]);
const TOP = Buffer.concat([
  tar([
    { path: 'd/.wh.file', data: 'a whiteout with contents' },
    { path: 'null', type: '3', device: [1, 3] },
  ]),
  Buffer.alloc(9000),
  Buffer.from('behind the end'),
]);

/** Saves images. Returns the archive's path. */
async function save(...references: string[]): Promise<string> {
  const file = join(mkdtempSync(join(place, 'saved-')), 'archive.tar');
  await store.save(references, createWriteStream(file));
  return file;
}

async function load(name: string, layers: Buffer[], config = {}): Promise<{ imageId: string; diffIds: string[] }> {
  const layout = join(place, name);
  const written = writeLayout(layout, layers, { tag: `${name}:1`, config });
  await store.load(layout);
  return written;
}

/** Unpacks an archive with tar(1). Returns the directory. */
function unpacked(archive: string): string {
  const directory = `${archive}.d`;
  mkdirSync(directory);
  execFileSync('tar', ['xf', archive, '-C', directory]);
  return directory;
}

const tool = (name: string, ...args: string[]): string => execFileSync(name, args, { encoding: 'utf8', stdio: 'pipe' });

describe('a saved image', () => {
  test('has the original layers byte for byte, though the store keeps no blobs', async () => {
    const { imageId, diffIds } = await load('image', [BASE, TOP]);
    const directory = unpacked(await save('image:1'));
    const blobs = join(directory, 'blobs/sha256');
    expect(readFileSync(join(blobs, diffIds[0]!.slice(7)))).toEqual(BASE);
    expect(readFileSync(join(blobs, diffIds[1]!.slice(7)))).toEqual(TOP);
    for (const name of readdirSync(blobs)) expect(sha256(readFileSync(join(blobs, name)))).toBe(`sha256:${name}`);
    expect(readdirSync(blobs)).toContain(imageId.slice(7));
  });

  test('loads as the same image with the same layers and disk', async () => {
    const { imageId } = await load('image', [BASE, TOP], { Cmd: ['/x'] });
    const before = await store.inspect('image:1');
    const archive = await save('image:1');
    const disk = readFileSync(checkedDisk((await store.resolve(imageId)).disk, join(place, 'before')));
    await store.remove('image:1');
    expect(await store.load(archive)).toEqual([{ digest: imageId, names: ['image:1'] }]);
    const { RootFS, Config, RepoTags } = await store.inspect(imageId);
    expect({ RootFS, Config, RepoTags }).toEqual({
      RootFS: before.RootFS,
      Config: before.Config,
      RepoTags: before.RepoTags,
    });
    const after = readFileSync(checkedDisk((await store.resolve(imageId)).disk, join(place, 'after')));
    expect(after.equals(disk)).toBe(true);
    expect(readFileSync(await save('image:1')).equals(readFileSync(archive))).toBe(true);
  });

  test('is accepted by skopeo as an OCI archive and as a docker archive', async () => {
    const { imageId, diffIds } = await load('image', [BASE, TOP]);
    const archive = await save('image:1');
    for (const source of [`oci-archive:${archive}:1`, `docker-archive:${archive}:image:1`]) {
      const copy = join(place, `copy-${source.split(':')[0]}`);
      tool('skopeo', 'copy', '--insecure-policy', source, `dir:${copy}`);
      const manifest = JSON.parse(readFileSync(join(copy, 'manifest.json'), 'utf8'));
      expect(manifest.config.digest).toBe(imageId);
      expect(manifest.layers.map(({ digest }: { digest: string }) => digest)).toEqual(diffIds);
    }
  });

  test('is accepted by umoci once the archive is unpacked', async () => {
    await load('image', [BASE, TOP]);
    const directory = unpacked(await save('image:1'));
    tool('umoci', 'unpack', '--image', `${directory}:1`, join(place, 'bundle'));
    expect(readdirSync(join(place, 'bundle/rootfs'))).toEqual(['d', 'null']);
    expect(readdirSync(join(place, 'bundle/rootfs/d'))).not.toContain('file');
  });

  test('shares layers with other images of the archive, and has only the requested names', async () => {
    const one = await load('one', [BASE, tar([{ path: 'one' }])]);
    const two = await load('two', [BASE, tar([{ path: 'two' }])]);
    await store.tag('one:1', 'example.org/uno');
    const archive = await save('one:1', 'example.org/uno', two.imageId);
    expect(
      tool('tar', 'tf', archive)
        .split('\n')
        .filter((name) => name.includes(one.diffIds[0]!.slice(7))),
    ).toHaveLength(1);
    await store.prune({ all: true });
    expect(await store.load(archive)).toEqual([
      { digest: one.imageId, names: ['one:1', 'example.org/uno:latest'] },
      { digest: two.imageId, names: [] },
    ]);
  });

  test('may come from an imported tar, and loads from the docker archive of another tool', async () => {
    await store.import(pieces(BASE), 'imported');
    const archive = await save('imported');
    const other = join(place, 'skopeo.tar');
    tool('skopeo', 'copy', '--insecure-policy', `oci-archive:${archive}`, `docker-archive:${other}:renamed:3`);
    const { digest } = await store.resolve('imported');
    await store.remove('imported');
    expect(await store.load(other)).toEqual([{ digest, names: ['renamed:3'] }]);
    await store.remove('renamed:3');
    const zipped = execFileSync('gzip', ['-c', other], { maxBuffer: 2 ** 26 });
    expect(await store.load(pieces(zipped))).toEqual([{ digest, names: ['renamed:3'] }]);
  });
});

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 10_007) yield bytes.subarray(at, at + 10_007);
}

test('an archive with an invalid name is refused before any of it is stored', async () => {
  const config = JSON.stringify({ rootfs: { type: 'layers', diff_ids: [] } });
  const items = ['fine:1', 'Not/Fine'].map((name) => ({ Config: 'config', RepoTags: [name], Layers: [] }));
  const archive = tar([
    { path: 'manifest.json', data: JSON.stringify(items) },
    { path: 'config', data: config },
  ]);
  const why = 'cannot load the archive: invalid reference format: repository name (Fine) must be lowercase';
  await expect(store.load(pieces(archive))).rejects.toEqual(failure('bad-reference', why));
  expect(await store.list()).toEqual([]);
});

describe('saving', () => {
  test('reproduces any tar, in chunks of any size', { timeout: 300_000 }, async () => {
    const member = fc.record({
      path: fc.constantFrom('a', 'b/c', 'b/d', 'x'.repeat(150)),
      size: fc.constantFrom(0, 1, 511, 512, 513, 5000, 40_000, 300_000),
      zeros: fc.boolean(),
      format: fc.constantFrom<'pax' | 'gnu'>('pax', 'gnu'),
    });
    const arbitrary = fc.tuple(fc.array(member, { maxLength: 12 }), fc.nat(2000), fc.integer({ min: 1, max: 70_000 }));
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(arbitrary, async ([members, tail, step]) => {
        const random = new Random(tail);
        const layer = Buffer.concat([
          tar(
            members.map(({ path, size, zeros, format }): TarMember => {
              return { path, data: zeros ? Buffer.alloc(size) : random.bytes(size), format };
            }),
          ),
          random.bytes(tail),
        ]);
        const name = `run-${runs++}`;
        async function* stream(): AsyncGenerator<Buffer> {
          for (let at = 0; at < layer.length; at += step) yield layer.subarray(at, at + step);
        }
        await store.import(stream(), name);
        const archive = await save(name);
        expect(tool('tar', 'tf', archive)).toContain(sha256(layer).slice(7));
        await store.remove(name);
      }),
      { seed: 4, numRuns: 40 },
    );
  });

  test('detects contents that have changed since they were stored', async () => {
    const { diffIds } = await load('image', [BASE]);
    const data = join(place, 'home', STORE, 'layers', diffIds[0]!.slice(7), 'data');
    const bytes = readFileSync(data);
    bytes[0]! ^= 1;
    writeFileSync(data, bytes);
    await expect(save('image:1')).rejects.toEqual(failure('corrupt', /stored layer .* is damaged/));
  });

  test('detects damage to the stored framing of the tar', async () => {
    const { diffIds } = await load('image', [BASE]);
    const framing = join(place, 'home', STORE, 'layers', diffIds[0]!.slice(7), 'framing');
    const whole = readFileSync(framing);
    const archive = readFileSync(await save('image:1'));
    const random = new Random(5);
    let noticed = 0;
    for (let i = 0; i < 60; i++) {
      const bytes = Buffer.from(whole);
      for (let n = random.below(3); n >= 0; n--) bytes[random.below(bytes.length)]! ^= 1 + random.below(255);
      writeFileSync(framing, random.chance(0.2) ? bytes.subarray(0, 1 + random.below(bytes.length - 1)) : bytes);
      try {
        // Some bits of a deflate stream have no meaning.
        expect(readFileSync(await save('image:1')).equals(archive)).toBe(true);
      } catch (error) {
        expect(error).toEqual(failure('corrupt'));
        noticed++;
      }
    }
    expect(noticed).toBeGreaterThan(40);
  });

  test('fails with the error of its output', async () => {
    await load('image', [BASE]);
    const output = new Writable({ write: (_chunk, _encoding, done) => done(new Error('no more')) });
    await expect(store.save(['image:1'], output)).rejects.toEqual(failure('io', 'cannot save image:1: no more'));
  });
});
