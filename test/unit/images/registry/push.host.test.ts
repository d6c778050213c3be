// Proves that a pushed image equals the stored one, that digests of layers from a registry stay,
// and that a push survives drops and two pushes at once.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Faults, startFaultyProxy } from '../../../fixtures/faulty-proxy.js';
import { gzipLayer, type WrittenLayout, writeLayout } from '../../../fixtures/oci-layout.js';
import { Random } from '../../../fixtures/random.js';
import { type RunningRegistry, startRegistry } from '../../../fixtures/registry.js';
import { tar } from '../../../fixtures/tar-writer.js';
import { checkedDisk } from '../disk-view.js';
import { failure } from '../failure.js';
import { inspected, made, pushFrom } from './push-scene.js';
import { newScene, push as pushLayout, someLayers, storeOf } from './scene.js';

let work: string;
let registry: RunningRegistry;
let other: RunningRegistry;
let layout: string;
let written: WrittenLayout;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-push-'));
  registry = await startRegistry(join(work, 'registry'));
  other = await startRegistry(join(work, 'other'));
  layout = join(work, 'layout');
  written = writeLayout(layout, someLayers(), { config: { Cmd: ['/b'] } });
  await pushLayout(layout, `${registry.host}/app:1`);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  rmSync(work, { recursive: true, force: true });
});

describe('an image that was pulled', () => {
  test('keeps its digest in another registry', async () => {
    const scene = newScene(work);
    await scene.pull(`${registry.host}/app:1`);
    const name = `${other.host}/copied:1`;
    await storeOf(scene).tag(`${registry.host}/app:1`, name);
    const { phases, recompressed, digest } = await pushFrom(scene, name);
    expect({ phases, recompressed, digest }).toEqual({
      phases: ['pushed', 'pushed', 'pushed'],
      recompressed: [],
      digest: written.manifestDigest,
    });
    expect(await inspected(name)).toMatchObject({ Digest: written.manifestDigest, Layers: written.layerDigests });
    const again = newScene(work);
    expect(await again.pull(name)).toMatchObject({ digest: written.imageId, manifest: written.manifestDigest });
    checkedDisk((await storeOf(again).resolve(name)).disk, join(work, 'disk'));
    expect((await pushFrom(scene, name)).phases).toEqual(['present', 'present', 'present']);
  });

  test('is mounted from another repository of its registry', async () => {
    const scene = newScene(work);
    await scene.pull(`${registry.host}/app:1`);
    const name = `${registry.host}/team/mounted:1`;
    await storeOf(scene).tag(`${registry.host}/app:1`, name);
    const { phases, digest } = await pushFrom(scene, name);
    expect([digest, phases]).toEqual([written.manifestDigest, ['mounted', 'mounted', 'mounted']]);
    expect((await inspected(name)).Layers).toEqual(written.layerDigests);
  });

  test('is compressed anew if no registry gives its layers', async () => {
    const scene = newScene(work);
    {
      await using gone = await startRegistry(join(work, 'gone'));
      await pushLayout(layout, `${gone.host}/app:1`);
      await scene.pull(`${gone.host}/app:1`);
      await storeOf(scene).tag(`${gone.host}/app:1`, `${registry.host}/anew:1`);
    }
    const { recompressed, digest } = await pushFrom(scene, `${registry.host}/anew:1`);
    expect(recompressed).toEqual(written.diffIds);
    expect(digest).not.toBe(written.manifestDigest);
    expect((await newScene(work).pull(`${registry.host}/anew:1`)).digest).toBe(written.imageId);
  });

  test('keeps the digests of its layers below a new one', async () => {
    const scene = newScene(work);
    await scene.pull(`${registry.host}/app:1`);
    const more = tar([{ path: 'more', data: 'more' }]);
    const name = `${other.host}/committed:1`;
    const stream = async function* () {
      yield more;
    };
    await storeOf(scene).commit(written.imageId, stream(), { name });
    await pushFrom(scene, name);
    expect((await inspected(name)).Layers.slice(0, 3)).toEqual(written.layerDigests);
    expect((await inspected(name)).Layers).toHaveLength(4);
  });
});

describe('an image made here', () => {
  test.each(['gzip', 'zstd'] as const)('is compressed with %s, each time to the same digest', async (compression) => {
    const name = `${registry.host}/made-${compression}:1`;
    const layers = someLayers(3);
    const scene = await made(work, layers, name);
    const first = await pushFrom(scene, name, { compression });
    expect((await pushFrom(scene, name, { compression })).digest).toBe(first.digest);
    const again = await pushFrom(await made(work, layers, `${other.host}/made:1`), `${other.host}/made:1`, {
      compression,
    });
    expect(again.digest).toBe(first.digest);
    expect((await inspected(name)).Digest).toBe(first.digest);
    const pulled = newScene(work);
    const { digest } = await pulled.pull(name);
    checkedDisk((await storeOf(pulled).resolve(digest)).disk, join(work, 'disk'));
    execFileSync('skopeo', [
      'copy',
      '-q',
      '--src-tls-verify=false',
      `docker://${name}`,
      `oci:${work}/${compression}:1`,
    ]);
  });

  test('is pushed by two processes at once', async () => {
    const layers = someLayers(4);
    const name = `${registry.host}/twice:1`;
    const scenes = await Promise.all([made(work, layers, name), made(work, layers, name)]);
    const [one, two] = await Promise.all(scenes.map((scene) => pushFrom(scene, name)));
    expect(one?.digest).toBe(two?.digest);
    expect((await inspected(name)).Digest).toBe(one?.digest);
  });
});

describe('faults on the way', () => {
  /** Three chunks that do not compress. */
  const large = () => [tar([{ path: 'large', data: Buffer.alloc(20 << 20, new Random(8).bytes(65_537)) }])];

  async function through(faults: Faults, repository: string) {
    const scene = newScene(work);
    await using proxy = await startFaultyProxy(registry.host, faults);
    const name = `${proxy.host}/${repository}:1`;
    const from = await made(work, large(), name);
    const { digest } = await pushFrom(from, name);
    expect((await scene.pull(`${registry.host}/${repository}:1`)).manifest).toBe(digest);
    return proxy.requests;
  }

  /** The proxy's own requests keep its name: the registry makes URLs of it. */
  const parts = (requests: { headers: Record<string, unknown> }[]) =>
    requests.flatMap(({ headers }) =>
      headers['content-range'] === undefined ? [] : [String(headers['content-range'])],
    );

  test('a busy registry gets the same chunk again, and no other', async () => {
    let left = 2;
    const requests = await through(
      {
        answer(request, response) {
          if (request.method !== 'PATCH' || !request.headers['content-range']?.startsWith('8388608-')) return false;
          if (left-- <= 0) return false;
          request.resume();
          response.writeHead(503).end();
          return true;
        },
      },
      'busy',
    );
    const ranges = parts(requests);
    expect(ranges.slice(0, 5)).toEqual([
      '0-8388607',
      '8388608-16777215',
      '8388608-16777215',
      '8388608-16777215',
      expect.stringMatching(/^16777216-/),
    ]);
  });

  test('a registry that reads a manifest which another push is writing gets it again', async () => {
    let left = 2;
    const requests = await through(
      {
        answer(request, response) {
          if (request.method !== 'PUT' || !request.url?.includes('/manifests/') || left-- <= 0) return false;
          request.resume();
          const errors = [{ code: 'DIGEST_INVALID', message: 'provided digest did not match uploaded content' }];
          response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ errors }));
          return true;
        },
      },
      'garbled',
    );
    expect(requests.filter(({ method, path }) => method === 'PUT' && path.includes('/manifests/')).length).toBe(3);
  });

  test('a lost answer makes the registry drop the upload, which begins again', async () => {
    let cut = false;
    const requests = await through(
      {
        answer(request, response) {
          if (cut || request.method !== 'PATCH') return false;
          cut = true;
          request.once('data', () => response.destroy());
          return true;
        },
      },
      'cut',
    );
    expect(cut).toBe(true);
    expect(parts(requests).length).toBeGreaterThanOrEqual(4);
  });

  test('a registry that cannot be reached is an error', async () => {
    const scene = await made(work, someLayers(5), '127.0.0.1:9/app:1');
    await expect(pushFrom(scene, '127.0.0.1:9/app:1')).rejects.toEqual(
      failure('network', /^cannot push 127\.0\.0\.1:9\/app:1: cannot reach/),
    );
  });

  test('an image that the store lacks is named', async () => {
    await expect(pushFrom(newScene(work), `${registry.host}/nosuch`)).rejects.toEqual(
      failure('unknown-image', `An image does not exist locally with the tag: ${registry.host}/nosuch:latest`),
    );
  });
});

test('the registry has the bytes of the layout', () => {
  for (const [i, digest] of written.layerDigests.entries()) {
    expect(existsSync(registry.blob(digest))).toBe(true);
    expect(readFileSync(registry.blob(digest)).equals(gzipLayer(someLayers()[i]!).bytes)).toBe(true);
  }
});
