// Proves that a layer without bytes is an empty layer, and that an error of a layer names it and
// its image.
import { randomBytes } from 'node:crypto';
import { createWriteStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { gzipLayer, plainLayer, type WrittenLayout, writeLayout } from '../../fixtures/oci-layout.js';
import { tar } from '../../fixtures/tar-writer.js';
import { failure } from './failure.js';
import { stored } from './stored.js';

const GOOD = tar([{ path: 'file', data: 'content' }]);

let place: string;
let store: Store;

beforeEach(() => {
  place = mkdtempSync('/tmp/tsvm-layers-');
  store = openStore(join(place, 'home'));
});

afterEach(() => rmSync(place, { recursive: true }));

function layoutOf(layers: Buffer[], compress = plainLayer): WrittenLayout & { path: string } {
  const path = join(place, 'layout');
  return { ...writeLayout(path, layers, { compress }), path };
}

test.each([
  ['no bytes', Buffer.alloc(0), plainLayer],
  ['no bytes, compressed', Buffer.alloc(0), gzipLayer],
  ['the end of an archive alone', Buffer.alloc(1024), plainLayer],
])('a layer of %s is empty, and is saved as it came', async (_, empty, compress) => {
  const layers = [GOOD, empty, tar([{ path: 'other', data: 'x' }])];
  const { path, imageId, diffIds } = layoutOf(layers, compress);
  await store.load(path);
  expect(await store.inspect(imageId)).toMatchObject({ RootFS: { Layers: diffIds } });
  const saved = join(place, 'saved.tar');
  await store.save([imageId], createWriteStream(saved));
  const again = openStore(join(place, 'again'));
  await again.load(saved);
  expect(await again.list()).toMatchObject([{ digest: imageId }]);
});

test.each<[string, string, Buffer, string]>([
  ['no archive', 'not-an-image', randomBytes(2000), 'it is not a tar archive'],
  ['a cut archive', 'corrupt', GOOD.subarray(0, 700), '.* ends in the middle of an entry'],
  ['an archive with a name that is too long', 'too-large', tar([{ path: 'a'.repeat(5000) }]), '.* the limit is 4096'],
])('an error of a layer that is %s names the layer and the image', async (_, code, bad, why) => {
  const { path, imageId, layerDigests } = layoutOf([GOOD, bad]);
  const message = new RegExp(`layer ${layerDigests[1]} of ${imageId}: ${why}$`);
  await expect(store.load(path)).rejects.toEqual(failure(code, message));
  expect(stored(join(place, 'home'))).toEqual([]);
});

test('a layer that was changed is named', async () => {
  const { path, imageId, layerDigests } = layoutOf([GOOD]);
  writeFileSync(join(path, 'blobs/sha256', layerDigests[0]!.slice(7)), tar([{ path: 'file', data: 'CONTENT' }]));
  const message = new RegExp(`layer ${layerDigests[0]} of ${imageId}: it is damaged: its digest is sha256:`);
  await expect(store.load(path)).rejects.toEqual(failure('corrupt', message));
});

test('an import of nothing is no image', async () => {
  async function* nothing(): AsyncGenerator<Buffer> {}
  await expect(store.import(nothing(), 'none')).rejects.toEqual(failure('not-an-image', /it is not a tar archive/));
});
