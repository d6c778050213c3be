// Proves that images are read from OCI layouts and archives in every supported form, and that
// damaged ones are refused and leave nothing in the store.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { STORE } from '../../../images/store/layout.js';
import {
  gzipLayer,
  LAYER_TYPE,
  plainLayer,
  sha256,
  type WrittenLayout,
  writeLayout,
} from '../../fixtures/oci-layout.js';
import { type TarMember, tar } from '../../fixtures/tar-writer.js';
import { checkedDisk } from './disk-view.js';
import { failure } from './failure.js';
import { stored } from './stored.js';

let work: string;
let place: string;
let home: string;
let layout: string;
let store: Store;

const LAYERS = [tar([{ path: 'a', data: 'a'.repeat(50_000) }]), tar([{ path: 'b', data: 'b' }, { path: '.wh.a' }])];

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-sources-'));
});

beforeEach(() => {
  place = mkdtempSync(join(work, 'test-'));
  home = join(place, 'home');
  layout = join(place, 'layout');
  store = openStore(home);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

// biome-ignore lint/suspicious/noExplicitAny: these tests take JSON apart to damage it
type AnyJson = any;

/** Changes a JSON file of the layout in place. */
function edit(file: string, change: (json: AnyJson) => unknown): void {
  const path = join(layout, file);
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')))));
}

/** Writes a changed manifest under its new digest, and refers index.json to it. */
function editManifest(written: WrittenLayout, change: (json: AnyJson) => unknown): void {
  const old = readFileSync(join(layout, 'blobs/sha256', written.manifestDigest.slice(7)), 'utf8');
  const manifest = JSON.stringify(change(JSON.parse(old)));
  writeFileSync(join(layout, 'blobs/sha256', sha256(manifest).slice(7)), manifest);
  edit('index.json', (index) => {
    Object.assign(index.manifests[0], { digest: sha256(manifest), size: manifest.length });
    return index;
  });
}

describe('an OCI layout', () => {
  test.each([
    ['gzip', gzipLayer],
    ['no compression', plainLayer],
    [
      'zstd',
      (bytes: Buffer) => ({ bytes: execFileSync('zstd', ['-cq'], { input: bytes }), mediaType: `${LAYER_TYPE}+zstd` }),
    ],
    [
      "zstd under Docker's type",
      (bytes: Buffer) => ({
        bytes: execFileSync('zstd', ['-cq'], { input: bytes }),
        mediaType: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
      }),
    ],
    ['xz', (bytes: Buffer) => ({ bytes: execFileSync('xz', ['-cq'], { input: bytes }), mediaType: LAYER_TYPE })],
    [
      'gzip of several members followed by zeros',
      (bytes: Buffer) => ({
        bytes: Buffer.concat([gzipSync(bytes.subarray(0, 700)), gzipSync(bytes.subarray(700)), Buffer.alloc(100)]),
        mediaType: `${LAYER_TYPE}+gzip`,
      }),
    ],
  ])('is read with %s', async (_, compress) => {
    const written = writeLayout(layout, LAYERS, { compress, config: { Cmd: ['/b'], Env: ['A=1'] } });
    const image = await store.resolve(`oci:${layout}`);
    expect(image.digest).toBe(written.imageId);
    expect(image.config).toMatchObject({ Cmd: ['/b'], Env: ['A=1'], Entrypoint: [], User: '', architecture: 'amd64' });
    checkedDisk(image.disk, join(place, 'disk'));
    expect((await store.resolve(`oci:${layout}:latest`)).disk).toEqual(image.disk);
    expect((await store.resolve(written.imageId)).disk).toEqual(image.disk);
  });

  test('reports its progress', async () => {
    const { layerDigests } = writeLayout(layout, LAYERS);
    const seen = new Map<string, number>();
    await store.resolve(`oci:${layout}`, {
      onProgress: ({ phase, layer, done, total }) => {
        if (phase === 'layer' && done === total) seen.set(layer, done);
      },
    });
    expect([...seen.keys()].sort()).toEqual(layerDigests.toSorted());
  });

  test('with several images needs a tag', async () => {
    writeLayout(layout, LAYERS, { tag: 'one' });
    const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
    const two = writeLayout(layout, LAYERS.slice(0, 1), { tag: 'two' });
    edit('index.json', (json) => ({ ...json, manifests: [...index.manifests, ...json.manifests] }));
    expect((await store.resolve(`oci:${layout}:two`)).digest).toBe(two.imageId);
    await expect(store.resolve(`oci:${layout}`)).rejects.toEqual(failure('unknown-image', /2 images.*one, two/));
    await expect(store.resolve(`oci:${layout}:x`)).rejects.toEqual(failure('unknown-image', /no tag x.*one, two/));
  });

  test('gives the variant for this machine from an image index', async () => {
    const arm = writeLayout(layout, LAYERS, { architecture: 'arm64' });
    const armIndex = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
    const amd = writeLayout(layout, LAYERS);
    const amdIndex = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
    const mediaType = 'application/vnd.oci.image.index.v1+json';
    const nested = JSON.stringify({
      schemaVersion: 2,
      mediaType,
      manifests: [
        { ...armIndex.manifests[0], platform: { os: 'linux', architecture: 'arm64' } },
        { ...amdIndex.manifests[0], platform: { os: 'linux', architecture: 'amd64' } },
      ],
    });
    const digest = sha256(nested);
    writeFileSync(join(layout, 'blobs/sha256', digest.slice(7)), nested);
    edit('index.json', () => ({ schemaVersion: 2, manifests: [{ mediaType, digest, size: nested.length }] }));
    expect((await store.resolve(`oci:${layout}`)).digest).toBe(amd.imageId);
    edit('index.json', () => armIndex);
    await expect(store.resolve(`oci:${layout}`)).rejects.toEqual(failure('unsupported', /linux\/arm64/));
    expect(arm.imageId).not.toBe(amd.imageId);
  });

  // containerd#8243, inspektor-gadget#5494, socktainer#314
  test('has attestations, an unknown platform and an image that is not there beside the one for this machine', async () => {
    const amd = writeLayout(layout, LAYERS);
    const [own] = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')).manifests;
    const absent = { ...own, digest: sha256('not there') };
    const attestation = { 'vnd.docker.reference.type': 'attestation-manifest' };
    const platform = (os: string, architecture: string) => ({ platform: { os, architecture } });
    edit('index.json', (index) => ({
      ...index,
      manifests: [
        { ...absent, ...platform('unknown', 'unknown'), annotations: attestation },
        { ...absent, ...platform('linux', '') },
        { ...absent, ...platform('linux', 'arm64') },
        { ...own, ...platform('linux', 'amd64') },
        { ...absent, ...platform('unknown', 'unknown'), annotations: attestation },
      ],
    }));
    expect((await store.resolve(`oci:${layout}`)).digest).toBe(amd.imageId);
  });

  test('is refused if it is missing or something else', async () => {
    await expect(store.resolve(`oci:${layout}`)).rejects.toEqual(failure('unknown-image', /does not exist/));
    mkdirSync(layout);
    await expect(store.resolve(`oci:${layout}`)).rejects.toEqual(failure('not-an-image', /oci-layout/));
    writeFileSync(join(place, 'file'), 'text');
    await expect(store.resolve(`oci:${place}/file`)).rejects.toEqual(failure('not-an-image', /not a directory/));
    await expect(store.resolve(`oci-archive:${place}/file`)).rejects.toEqual(failure('not-an-image', /not a tar/));
    await expect(store.resolve(`oci-archive:${place}`)).rejects.toEqual(failure('not-an-image', /not a file/));
  });

  const damages: [string, (written: WrittenLayout) => void, object][] = [
    ['a layer changed', ({ layerDigests }) => change(layerDigests[0]!), failure('corrupt')],
    [
      'a layer cut short',
      ({ layerDigests }) => truncateSync(blob(layerDigests[0]!), 50),
      failure('corrupt', /50 bytes/),
    ],
    ['a layer missing', ({ layerDigests }) => rmSync(blob(layerDigests[1]!)), failure('corrupt', /lacks a layer/)],
    ['the config changed', ({ imageId }) => change(imageId), failure('corrupt', /does not match its digest/)],
    ['the manifest changed', ({ manifestDigest }) => change(manifestDigest), failure('corrupt', /match its digest/)],
    ['invalid JSON', () => writeFileSync(join(layout, 'index.json'), '{'), failure('corrupt', /not JSON/)],
    ['a huge index', () => writeFileSync(join(layout, 'index.json'), ' '.repeat(5 << 20)), failure('too-large')],
    ['an object for a list', () => edit('index.json', () => ({ manifests: {} })), failure('corrupt', /not a list/)],
    ['no images', () => edit('index.json', () => ({ manifests: [] })), failure('not-an-image')],
    [
      'a digest with a path',
      () =>
        edit('index.json', (json) => {
          json.manifests[0].digest = 'sha256:../../../../etc/passwd';
          return json;
        }),
      failure('corrupt', /malformed digest/),
    ],
    [
      'another artifact',
      (written) =>
        editManifest(written, (json) => ({
          ...json,
          config: { ...json.config, mediaType: 'application/vnd.cncf.helm.config.v1+json' },
        })),
      failure('not-an-image', /helm/),
    ],
    [
      'a foreign layer',
      (written) =>
        editManifest(written, (json) => {
          json.layers[0].mediaType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
          return json;
        }),
      failure('unsupported', /foreign/),
    ],
    [
      'one layer too few',
      (written) => editManifest(written, (json) => ({ ...json, layers: json.layers.slice(1) })),
      failure('corrupt', /1 layers, the image config 2/),
    ],
    [
      'layers in the wrong order',
      (written) => editManifest(written, (json) => ({ ...json, layers: json.layers.toReversed() })),
      failure('corrupt', /do not match the image config/),
    ],
  ];

  function blob(digest: string): string {
    return join(layout, 'blobs/sha256', digest.slice(7));
  }

  function change(digest: string): void {
    const bytes = readFileSync(blob(digest));
    bytes[bytes.length >> 1]! ^= 0x20;
    writeFileSync(blob(digest), bytes);
  }

  test.each(damages)('with %s leaves nothing behind', async (_, damage, expected) => {
    damage(writeLayout(layout, LAYERS));
    await expect(store.resolve(`oci:${layout}`)).rejects.toEqual(expected);
    expect(stored(home)).toEqual([]);
  });

  test.each([
    ['zstd', `${LAYER_TYPE}+zstd`],
    ['xz', LAYER_TYPE],
  ])('with a damaged layer of %s leaves nothing behind', async (program, mediaType) => {
    const compress = (bytes: Buffer) => {
      const compressed = execFileSync(program, ['-cq'], { input: bytes });
      compressed[compressed.length >> 1]! ^= 0xff;
      return { bytes: compressed, mediaType };
    };
    writeLayout(layout, LAYERS, { compress });
    await expect(store.resolve(`oci:${layout}`)).rejects.toEqual(failure('corrupt'));
    expect(stored(home)).toEqual([]);
  });
});

describe('an archive', () => {
  function archive(name: string, directory: string): string {
    const path = join(place, name);
    execFileSync('tar', ['-C', directory, '-cf', path, '.']);
    return path;
  }

  test('of an OCI layout is read in place, or decompressed first', async () => {
    const { imageId } = writeLayout(layout, LAYERS, { tag: 'v1' });
    const path = archive('image.tar', layout);
    expect((await store.resolve(`oci-archive:${path}`)).digest).toBe(imageId);
    await store.remove(imageId);
    writeFileSync(`${path}.gz`, gzipSync(readFileSync(path)));
    const image = await store.resolve(`oci-archive:${path}.gz:v1`);
    expect(image.digest).toBe(imageId);
    checkedDisk(image.disk, join(place, 'disk'));
    expect(readdirSync(join(home, STORE, 'tmp'))).toEqual([]);
  });

  test('that is cut short is refused', async () => {
    writeLayout(layout, LAYERS, { compress: plainLayer });
    const path = archive('image.tar', layout);
    truncateSync(path, readFileSync(path).indexOf('a'.repeat(1000)) + 2000);
    await expect(store.resolve(`oci-archive:${path}`)).rejects.toEqual(failure('corrupt'));
    expect(stored(home)).toEqual([]);
  });

  function dockerArchive(
    change: (manifest: AnyJson[]) => unknown = (manifest) => manifest,
    more: TarMember[] = [],
  ): string {
    const config = JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { Entrypoint: ['/b'] },
      rootfs: { type: 'layers', diff_ids: LAYERS.map(sha256) },
    });
    const manifest = [{ Config: 'c.json', RepoTags: ['app:1'], Layers: ['one/layer.tar', 'two/layer.tar'] }];
    const path = join(place, 'docker.tar');
    const members: TarMember[] = [
      { path: 'c.json', data: config },
      { path: 'one/layer.tar', data: LAYERS[0]! },
      // Old versions write a link for a layer that the archive has already.
      { path: 'two/layer.tar', type: '2', link: '../three/layer.tar' },
      { path: 'three/layer.tar', data: gzipSync(LAYERS[1]!) },
      ...more,
      { path: 'manifest.json', data: JSON.stringify(change(manifest)) },
    ];
    writeFileSync(path, tar(members));
    return path;
  }

  test('of docker save is read in place', async () => {
    const path = dockerArchive();
    const image = await store.resolve(`docker-archive:${path}`);
    expect(image.config.Entrypoint).toEqual(['/b']);
    checkedDisk(image.disk, join(place, 'disk'));
    expect((await store.resolve(`docker-archive:${path}:app:1`)).digest).toBe(image.digest);
    expect((await store.resolve(`docker-archive:${path}:docker.io/library/app:1`)).digest).toBe(image.digest);
    await expect(store.resolve(`docker-archive:${path}:app:2`)).rejects.toEqual(failure('unknown-image', /app:1/));
  });

  test.each<[string, string, object]>([
    ['a missing layer', 'nowhere.tar', failure('corrupt', /lacks a file/)],
    ['a path out of the archive', '../../../../../../etc/passwd', failure('corrupt', /lacks a file/)],
    ['a link to itself', 'round', failure('corrupt', /lacks a file/)],
    ['the wrong layer', 'three/layer.tar', failure('corrupt', /do not match/)],
  ])('of docker save with %s is refused', async (_, layer, expected) => {
    const path = dockerArchive(
      ([item]) => [{ ...item, Layers: [layer, 'two/layer.tar'] }],
      [{ path: 'round', type: '2', link: 'round' }],
    );
    await expect(store.resolve(`docker-archive:${path}`)).rejects.toEqual(expected);
    expect(stored(home)).toEqual([]);
  });

  test.each<[string, unknown]>([
    ['an object', {}],
    ['empty', []],
    ['a list of numbers', [1]],
    ['without a config', [{ Layers: [] }]],
  ])('of docker save whose manifest is %s is refused', async (_, manifest) => {
    const path = dockerArchive(() => manifest);
    await expect(store.resolve(`docker-archive:${path}`)).rejects.toEqual(
      failure(expect.stringMatching(/corrupt|not-an-image/) as unknown as string),
    );
  });
});
