// Proves that a pulled image equals the pushed one, that layers in the store are not downloaded,
// and that damage is detected.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  gzipLayer,
  LAYER_TYPE,
  plainLayer,
  sha256,
  type WrittenLayout,
  writeLayout,
} from '../../../fixtures/oci-layout.js';
import { type RunningRegistry, startRegistry } from '../../../fixtures/registry.js';
import { checkedDisk } from '../disk-view.js';
import { failure } from '../failure.js';
import { expectNothing, newScene, push, skopeo, someLayers, storeOf } from './scene.js';

let work: string;
let registry: RunningRegistry;
let layout: string;
let written: WrittenLayout;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-pull-'));
  registry = await startRegistry(join(work, 'registry'));
  layout = join(work, 'layout');
  written = writeLayout(layout, someLayers(), { config: { Cmd: ['/b'] } });
  await push(layout, `${registry.host}/app:1`);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(work, { recursive: true, force: true });
});

describe('an image in a registry', () => {
  test('gives the same image as its layout', async () => {
    const scene = newScene(work);
    const pulled = await scene.pull(`${registry.host}/app:1`);
    expect(pulled).toEqual({
      name: `${registry.host}/app:1`,
      manifest: written.manifestDigest,
      digest: written.imageId,
      changed: true,
    });
    const image = await storeOf(scene).resolve(`${registry.host}/app:1`);
    expect(image.config.Cmd).toEqual(['/b']);
    checkedDisk(image.disk, join(work, 'pulled'));
    const loaded = await storeOf(newScene(work)).resolve(`oci:${layout}`);
    checkedDisk(loaded.disk, join(work, 'loaded'));
    expect(readFileSync(join(work, 'pulled')).equals(readFileSync(join(work, 'loaded')))).toBe(true);
    expect(scene.leftovers()).toEqual([]);
  });

  test.each([
    ['gzip', gzipLayer],
    [
      'zstd',
      (bytes: Buffer) => ({ bytes: execFileSync('zstd', ['-cq'], { input: bytes }), mediaType: `${LAYER_TYPE}+zstd` }),
    ],
    ['no compression', plainLayer],
  ])('may have layers with %s', async (word, compress) => {
    const own = join(work, `layout ${word}`);
    const { imageId } = writeLayout(own, someLayers(2), { compress });
    await push(own, `${registry.host}/compressed:1`);
    const scene = newScene(work);
    expect((await scene.pull(`${registry.host}/compressed:1`)).digest).toBe(imageId);
    checkedDisk((await storeOf(scene).resolve(imageId)).disk, join(work, 'disk'));
  });

  test("may be in Docker's format", async () => {
    await skopeo(`oci:${layout}`, `docker://${registry.host}/docker:1`, '--dest-tls-verify=false', '--format=v2s2');
    const scene = newScene(work);
    const { digest } = await scene.pull(`${registry.host}/docker:1`);
    checkedDisk((await storeOf(scene).resolve(digest)).disk, join(work, 'disk'));
  });

  test('is not downloaded again while its name refers to it', async () => {
    const scene = newScene(work);
    await scene.pull(`${registry.host}/app:1`);
    const before = scene.contents();
    scene.progress.length = 0;
    expect(await scene.pull(`${registry.host}/app:1`)).toMatchObject({ digest: written.imageId, changed: false });
    expect(scene.progress).toEqual([]);
    expect(scene.contents()).toEqual(before);
  });

  test('that is in the store under another name only gets a second name', async () => {
    const scene = newScene(work);
    await scene.pull(`${registry.host}/app:1`);
    await push(layout, `${registry.host}/other:2`);
    scene.progress.length = 0;
    expect(await scene.pull(`${registry.host}/other:2`)).toMatchObject({ digest: written.imageId, changed: true });
    expect(new Set(scene.progress.map(({ phase }) => phase))).toEqual(new Set(['present']));
    const names = (await storeOf(scene).list()).map(({ name, tag }) => `${name}:${tag}`);
    expect(names.sort()).toEqual([`${registry.host}/app:1`, `${registry.host}/other:2`].sort());
  });

  test('is pulled without the layers that are in the store', async () => {
    const own = join(work, 'layout-more');
    const more = writeLayout(own, [...someLayers(), someLayers(7)[1]!]);
    await push(own, `${registry.host}/app:more`);
    const scene = newScene(work);
    await scene.pull(`${registry.host}/app:1`);
    scene.progress.length = 0;
    await scene.pull(`${registry.host}/app:more`);
    const layersIn = (wanted: string) => [
      ...new Set(scene.progress.filter(({ phase }) => phase === wanted).map(({ layer }) => layer)),
    ];
    expect(layersIn('present')).toEqual(more.layerDigests.slice(0, 3));
    expect(layersIn('layer')).toEqual(more.layerDigests.slice(3));
  });

  test('can be pulled by its digest, and then resolved by it', async () => {
    const scene = newScene(work);
    const name = `${registry.host}/app@${written.manifestDigest}`;
    expect(await scene.pull(`${registry.host}/app:9@${written.manifestDigest}`)).toMatchObject({ name, changed: true });
    const store = storeOf(scene);
    expect((await store.resolve(name)).digest).toBe(written.imageId);
    expect(await store.list()).toMatchObject([{ name: `${registry.host}/app`, tag: null }]);
    expect(await store.remove(name)).toMatchObject({
      untagged: [name],
      deleted: expect.arrayContaining([written.imageId]),
    });
    expect(await store.list()).toEqual([]);
  });

  test.each([
    [`app:nosuch`, failure('unknown-image', /^No such image: .* has no .*app:nosuch$/)],
    [`nosuch:1`, failure('unknown-image', /nosuch:1/)],
    [`app@sha256:${'0'.repeat(64)}`, failure('unknown-image', /app@sha256:0000/)],
  ])('that does not exist is an unknown image: %s', async (name, expected) => {
    const scene = newScene(work);
    await expect(scene.pull(`${registry.host}/${name}`)).rejects.toEqual(expected);
    expectNothing(scene);
  });
});

describe('an image with several variants', () => {
  const ids: Record<string, string> = {};
  let indexDigest: string;

  beforeAll(async () => {
    const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [] as object[] };
    for (const [architecture, variant] of [
      ['arm64', 'v8'],
      ['amd64', 'v3'],
      ['amd64', undefined],
    ]) {
      const own = join(work, `layout-${architecture}-${variant}`);
      const config = { Labels: { for: `${architecture} ${variant}` } };
      const one = writeLayout(own, someLayers(3), { ...(architecture !== undefined && { architecture }), config });
      ids[`${architecture} ${variant}`] = one.imageId;
      const json = JSON.parse(readFileSync(join(own, 'index.json'), 'utf8'));
      const { annotations: _, ...descriptor } = json.manifests[0];
      index.manifests.push({ ...descriptor, platform: { os: 'linux', architecture, variant } });
      await push(own, `${registry.host}/multi:${architecture}-${variant}`);
    }
    const text = JSON.stringify(index);
    indexDigest = sha256(text);
    const headers = { 'content-type': index.mediaType };
    const url = `http://${registry.host}/v2/multi/manifests/1`;
    expect((await fetch(url, { method: 'PUT', headers, body: text })).status).toBe(201);
  });

  test('gives the variant for this machine', async () => {
    const scene = newScene(work);
    const pulled = await scene.pull(`${registry.host}/multi:1`);
    expect(pulled).toMatchObject({ digest: ids['amd64 undefined'], manifest: indexDigest });
  });

  test('gives the variant for the requested platform', async () => {
    const scene = newScene(work);
    const { digest } = await scene.pull(`${registry.host}/multi:1`, { platform: 'linux/amd64/v3' });
    expect(digest).toBe(ids['amd64 v3']);
    expect((await scene.pull(`${registry.host}/multi:1`, { platform: 'linux/amd64/v2' })).digest).toBe(
      ids['amd64 undefined'],
    );
  });

  test('can be stored for another machine, but does not run here', async () => {
    const scene = newScene(work);
    const { digest } = await scene.pull(`${registry.host}/multi:1`, { platform: 'arm64' });
    expect(digest).toBe(ids['arm64 v8']);
    await expect(storeOf(scene).resolve(`${registry.host}/multi:1`)).rejects.toEqual(
      failure('unsupported', /image is for linux\/arm64; this machine runs linux\/amd64/),
    );
  });

  test('is refused if no variant suits', async () => {
    const scene = newScene(work);
    await expect(scene.pull(`${registry.host}/multi:1`, { platform: 'linux/s390x' })).rejects.toEqual(
      failure('unsupported', /no variant for linux\/s390x/),
    );
    await expect(scene.pull(`${registry.host}/app:1`, { platform: 'linux/s390x' })).rejects.toEqual(
      failure('unsupported', /image is for linux\/amd64; the requested platform is linux\/s390x/),
    );
    expectNothing(scene);
  });

  test('is found by the digest of its index', async () => {
    const scene = newScene(work);
    await scene.pull(`${registry.host}/multi@${indexDigest}`);
    expect((await storeOf(scene).resolve(`${registry.host}/multi@${indexDigest}`)).digest).toBe(ids['amd64 undefined']);
  });
});

describe('a registry with damaged files', () => {
  const damages: [string, (file: string) => void, object][] = [
    ['changed', (file) => change(file), failure('corrupt', /layer sha256:.* is damaged|gzip data/)],
    ['cut short', (file) => truncateSync(file, 1000), failure('corrupt', /1000 bytes instead of/)],
    [
      'made longer',
      (file) => writeFileSync(file, Buffer.alloc(10), { flag: 'a' }),
      failure('corrupt', /bytes instead of/),
    ],
    ['empty', (file) => truncateSync(file, 0), failure('corrupt', /instead of/)],
    ['missing', (file) => rmSync(file), failure('corrupt', /lacks a layer/)],
  ];

  function change(file: string): void {
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1]! ^= 0x20;
    writeFileSync(file, bytes);
  }

  test.each(damages)('gives an error and changes nothing: a layer %s', async (word, damage, expected) => {
    const own = join(work, `layout-${word}`);
    const { layerDigests } = writeLayout(own, someLayers(10 + damages.findIndex(([name]) => name === word)));
    const name = `${registry.host}/damaged:${word.replace(' ', '-')}`;
    await push(own, name);
    damage(registry.blob(layerDigests[0]!));
    const scene = newScene(work);
    await scene.pull(`${registry.host}/app:1`);
    const before = scene.contents();
    await expect(scene.pull(name)).rejects.toEqual(expected);
    expect(scene.contents()).toEqual(before);
    expect(scene.leftovers()).toEqual([]);
  });

  test.each(['config', 'manifest'])('gives an error and changes nothing: the %s changed', async (which) => {
    const own = join(work, `layout-${which}`);
    const { imageId, manifestDigest } = writeLayout(own, someLayers(which.length + 20));
    await push(own, `${registry.host}/damaged:${which}`);
    change(registry.blob(which === 'config' ? imageId : manifestDigest));
    const scene = newScene(work);
    await expect(scene.pull(`${registry.host}/damaged:${which}`)).rejects.toEqual(
      expect.objectContaining({ name: 'ImageError' }),
    );
    expectNothing(scene);
  });
});

describe('the store', () => {
  test('pulls an image that it lacks if `pull` is `missing`', async () => {
    const scene = newScene(work);
    const store = storeOf(scene);
    const name = `${registry.host}/app:1`;
    await expect(store.resolve(name)).rejects.toEqual(failure('unknown-image', /^No such image/));
    await expect(store.resolve(name, { pull: 'never' })).rejects.toEqual(failure('unknown-image', /^No such image/));
    const missing: string[] = [];
    const onMissing = (reference: string) => missing.push(reference);
    expect((await store.resolve(name, { pull: 'missing', onMissing })).digest).toBe(written.imageId);
    expect((await store.resolve(name, { pull: 'missing', onMissing })).digest).toBe(written.imageId);
    expect(missing).toEqual([name]);
  });

  test('pulls every time if `pull` is `always`', async () => {
    const scene = newScene(work);
    const store = storeOf(scene);
    const name = `${registry.host}/moving:1`;
    await push(layout, name);
    expect((await store.resolve(name, { pull: 'always' })).digest).toBe(written.imageId);
    const own = join(work, 'layout-moved');
    const moved = writeLayout(own, someLayers(40));
    await push(own, name);
    expect((await store.resolve(name, { pull: 'missing' })).digest).toBe(written.imageId);
    expect((await store.resolve(name, { pull: 'always' })).digest).toBe(moved.imageId);
    expect((await store.resolve(name)).digest).toBe(moved.imageId);
  });

  test('replaces an image for another machine', async () => {
    const scene = newScene(work);
    const arm = join(work, 'layout-arm');
    writeLayout(arm, someLayers(41), { architecture: 'arm64' });
    const name = `${registry.host}/machines:1`;
    await push(arm, name);
    await scene.pull(name, { platform: 'linux/arm64' });
    await push(layout, name);
    expect((await storeOf(scene).resolve(name, { pull: 'missing' })).digest).toBe(written.imageId);
  });
});
