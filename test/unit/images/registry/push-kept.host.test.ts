// Proves that an image that is pulled and pushed unchanged keeps its manifest byte for byte, whatever
// wrote it, and that skopeo and podman read what was pushed.
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gzipLayer, LAYER_TYPE, plainLayer, sha256, writeLayout } from '../../../fixtures/oci-layout.js';
import { type RunningRegistry, startRegistry } from '../../../fixtures/registry.js';
import { tar } from '../../../fixtures/tar-writer.js';
import { inspected, pushFrom } from './push-scene.js';
import { newScene, push as pushLayout, someLayers, storeOf } from './scene.js';

let work: string;
let from: RunningRegistry;
let to: RunningRegistry;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-push-kept-'));
  from = await startRegistry(join(work, 'from'));
  to = await startRegistry(join(work, 'to'));
});

afterAll(async () => {
  await from[Symbol.asyncDispose]();
  await to[Symbol.asyncDispose]();
  rmSync(work, { recursive: true, force: true });
});

function zstdLayer(bytes: Buffer): { bytes: Buffer; mediaType: string } {
  return { bytes: execFileSync('zstd', ['-cq', '-7'], { input: bytes }), mediaType: `${LAYER_TYPE}+zstd` };
}

/** Writes a layout's manifest anew, with other white space and what `change` adds. */
function rewriteManifest(layout: string, change: (manifest: { layers: object[] }) => object): void {
  const path = join(layout, 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8'));
  const [descriptor] = index.manifests;
  const blob = (digest: string) => join(layout, 'blobs/sha256', digest.slice('sha256:'.length));
  const bytes = `${JSON.stringify(change(JSON.parse(readFileSync(blob(descriptor.digest), 'utf8'))), null, 3)}\n`;
  writeFileSync(blob(sha256(bytes)), bytes);
  writeFileSync(
    path,
    JSON.stringify({ ...index, manifests: [{ ...descriptor, digest: sha256(bytes), size: bytes.length }] }),
  );
}

const empty = tar([]);
const many = () => Array.from({ length: 200 }, (_, i) => tar([{ path: `file${i}`, data: `${i}` }]));

/** Each writes an image to the first registry, under a name. */
const IMAGES: [string, (layout: string, name: string) => Promise<void>][] = [
  [
    'layers of zstd',
    async (layout, name) => {
      writeLayout(layout, someLayers(11), { compress: zstdLayer });
      await pushLayout(layout, name);
    },
  ],
  [
    "a manifest of Docker's schema 2",
    async (layout, name) => {
      // A layer that another test compresses with zstd would be taken from the cache of skopeo.
      writeLayout(layout, someLayers(12).slice(0, 2));
      await pushLayout(layout, name, '--format=v2s2');
    },
  ],
  [
    'annotations, white space, and fields that no specification has',
    async (layout, name) => {
      writeLayout(layout, someLayers(13));
      rewriteManifest(layout, (manifest) => ({
        ...manifest,
        annotations: { 'org.example.key': 'v\u00e4lue' },
        'x-field': [1],
        layers: manifest.layers.map((layer) => ({ ...layer, annotations: { a: 'b' } })),
      }));
      await pushLayout(layout, name, '--preserve-digests');
    },
  ],
  [
    'empty layers, the same layer twice, and each compression',
    async (layout, name) => {
      const [large, small, last] = someLayers(14);
      writeLayout(layout, [large!, empty, small!, last!, empty, small!], {
        compress: (bytes, i) => [gzipLayer, plainLayer, zstdLayer][i % 3]!(bytes),
      });
      await pushLayout(layout, name, '--preserve-digests');
    },
  ],
];

/** Pulls from the first registry and pushes to the second one. */
async function carried(repository: string) {
  const scene = newScene(work);
  const { digest: id, manifest } = await scene.pull(`${from.host}/${repository}:1`);
  const name = `${to.host}/${repository}:1`;
  await storeOf(scene).tag(id, name);
  const pushed = await pushFrom(scene, name);
  expect(pushed).toMatchObject({ digest: manifest, recompressed: [] });
  return { name, manifest };
}

describe.each(IMAGES)('an image with %s', (what, write) => {
  test('keeps its manifest, and podman reads it', async () => {
    const repository = `image${IMAGES.findIndex(([each]) => each === what)}`;
    await write(join(work, repository), `${from.host}/${repository}:1`);
    const { name, manifest } = await carried(repository);
    const [source, copy] = [await inspected(`${from.host}/${repository}:1`), await inspected(name)];
    expect([manifest, copy.Digest]).toEqual([source.Digest, source.Digest]);
    expect(copy.Layers).toEqual(source.Layers);
    expect(readFileSync(to.blob(manifest)).equals(readFileSync(from.blob(manifest)))).toBe(true);
    const place = mkdtempSync(join(work, 'podman-'));
    const podman = ['--root', `${place}/root`, '--runroot', `${place}/run`, '--storage-driver', 'vfs'];
    const options = { timeout: 60_000, env: { ...process.env, TMPDIR: place } };
    await promisify(execFile)('podman', [...podman, 'pull', '-q', '--tls-verify=false', name], options);
    const words = [...podman, 'image', 'inspect', '--format', '{{.Digest}}', name];
    const { stdout } = await promisify(execFile)('podman', words, options);
    expect(stdout.trim()).toBe(manifest);
  });
});

test('an image of 200 layers keeps its manifest, and skopeo reads it', async () => {
  writeLayout(join(work, 'many'), many());
  const push = ['copy', '-q', '--dest-tls-verify=false', `oci:${work}/many`, `docker://${from.host}/many:1`];
  await promisify(execFile)('skopeo', push, { timeout: 150_000 });
  const { name, manifest } = await carried('many');
  expect((await inspected(name)).Digest).toBe(manifest);
  const read = ['copy', '-q', '--src-tls-verify=false', `docker://${name}`, `oci:${work}/many-read`];
  await promisify(execFile)('skopeo', read, { timeout: 150_000 });
});
