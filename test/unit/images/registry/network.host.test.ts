// Proves that a pull survives broken connections and busy servers, uses mirrors, and detects a
// registry that lies.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Faults, type FaultyProxy, startFaultyProxy } from '../../../fixtures/faulty-proxy.js';
import { sha256, type WrittenLayout, writeLayout } from '../../../fixtures/oci-layout.js';
import { Random } from '../../../fixtures/random.js';
import { type RunningRegistry, startRegistry } from '../../../fixtures/registry.js';
import { checkedDisk } from '../disk-view.js';
import { failure } from '../failure.js';
import { expectNothing, newScene, push, type Scene, someLayers, storeOf } from './scene.js';

let work: string;
let registry: RunningRegistry;
let written: WrittenLayout;
const proxies: FaultyProxy[] = [];

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-network-'));
  registry = await startRegistry(join(work, 'registry'));
  written = writeLayout(join(work, 'layout'), someLayers());
  await push(join(work, 'layout'), `${registry.host}/app:1`);
});

afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy[Symbol.asyncDispose]();
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(work, { recursive: true, force: true });
});

async function proxyWith(faults: Faults): Promise<FaultyProxy> {
  const proxy = await startFaultyProxy(registry.host, faults);
  proxies.push(proxy);
  return proxy;
}

const isBlob = ({ url = '' }: { url?: string | undefined }) => url.includes('/blobs/');
const isLargeLayer = ({ url = '' }: { url?: string | undefined }) => url.includes(written.layerDigests[0]!);

async function expectRight(scene: Scene, digest: string): Promise<void> {
  expect(digest).toBe(written.imageId);
  checkedDisk((await storeOf(scene).resolve(digest)).disk, join(work, 'disk'));
  expect(scene.leftovers()).toEqual([]);
}

describe('a connection that breaks', () => {
  test.each([1, 2, 3, 4, 5])('at random still gives the right bytes: seed %i', async (seed) => {
    const random = new Random(seed);
    const proxy = await proxyWith({ breakAfter: () => (random.chance(0.5) ? random.below(150_000) : null) });
    const scene = newScene(work);
    await expectRight(scene, (await scene.pull(`${proxy.host}/app:1`)).digest);
  });

  test('resumes where it broke', async () => {
    let broken = 0;
    const proxy = await proxyWith({ breakAfter: (request) => (isLargeLayer(request) && broken++ < 4 ? 70_000 : null) });
    const scene = newScene(work);
    await expectRight(scene, (await scene.pull(`${proxy.host}/app:1`)).digest);
    const ranges = proxy.requests.filter(({ path }) => path.includes(written.layerDigests[0]!));
    const starts = ranges.map(({ headers }) => Number(/^bytes=(\d+)-$/.exec(headers.range ?? 'bytes=0-')![1]));
    expect(starts.length).toBe(5);
    expect(starts).toEqual(starts.toSorted((a, b) => a - b));
    expect(starts[4]).toBeGreaterThan(starts[1]!);
  });

  test('starts over if the server ignores ranges', async () => {
    let broken = 0;
    const proxy = await proxyWith({
      breakAfter: (request) => (isLargeLayer(request) && broken++ < 3 ? 100_000 : null),
      forward: (headers) => {
        delete headers.range;
      },
    });
    const scene = newScene(work);
    await expectRight(scene, (await scene.pull(`${proxy.host}/app:1`)).digest);
  });

  test('fails the pull after six attempts without a byte', async () => {
    const proxy = await proxyWith({ breakAfter: (request) => (isLargeLayer(request) ? 0 : null) });
    const scene = newScene(work);
    await expect(scene.pull(`${proxy.host}/app:1`)).rejects.toEqual(failure('network', /cannot pull .*app:1: /));
    expectNothing(scene);
  });

  test('that is too slow fails the pull', async () => {
    const proxy = await proxyWith({
      answer: (request, response) => {
        if (!isLargeLayer(request)) return false;
        response.writeHead(200);
        const timer = setInterval(() => response.write('x'), 20);
        response.on('close', () => clearInterval(timer));
        return true;
      },
    });
    const scene = newScene(work);
    // Long enough that a busy machine is not too slow for the other requests.
    const settings = { [proxy.host]: { timeout: 3 } };
    await expect(scene.pull(`${proxy.host}/app:1`, { settings })).rejects.toEqual(
      failure('network', /sent only \d+ bytes in 3 seconds/),
    );
    expectNothing(scene);
  });

  test('that becomes too slow is replaced by another, which resumes', async () => {
    const served: (string | undefined)[] = [];
    const proxy = await proxyWith({
      answer: (request, response) => {
        if (!isLargeLayer(request)) return false;
        served.push(request.headers.range);
        if (served.length > 1) return false;
        const layer = readFileSync(join(work, 'layout/blobs/sha256', written.layerDigests[0]!.slice(7)));
        response.writeHead(200, { 'content-length': String(layer.length) });
        response.write(layer.subarray(0, 100_000));
        let at = 100_000;
        const timer = setInterval(() => response.write(layer.subarray(at, ++at)), 20);
        response.on('close', () => clearInterval(timer));
        return true;
      },
    });
    const scene = newScene(work);
    const settings = { [proxy.host]: { timeout: 3 } };
    await expectRight(scene, (await scene.pull(`${proxy.host}/app:1`, { settings })).digest);
    expect(served).toEqual([undefined, expect.stringMatching(/^bytes=10\d{4}-$/)]);
  });

  test('that stalls is replaced by another', async () => {
    let stalled = 0;
    const proxy = await proxyWith({ stallAfter: (request) => (isLargeLayer(request) && stalled++ < 1 ? 1000 : null) });
    const scene = newScene(work);
    const settings = { [proxy.host]: { timeout: 3 } };
    await expectRight(scene, (await scene.pull(`${proxy.host}/app:1`, { settings })).digest);
    expect(proxy.requests.filter(({ path }) => path.includes(written.layerDigests[0]!)).length).toBe(2);
  });

  test.each([
    ['another part', 'bytes 5-10/400000'],
    ['another size', `bytes 70000-399999/400000`],
    ['nonsense', 'bytes ?'],
  ])('is not resumed with %s', async (_, range) => {
    let broken = 0;
    const proxy = await proxyWith({
      breakAfter: (request) => (isLargeLayer(request) && broken++ < 1 ? 70_000 : null),
      answer: (request, response) => {
        if (!isLargeLayer(request) || request.headers.range === undefined) return false;
        response.writeHead(206, { 'content-range': range }).end('abcdef');
        return true;
      },
    });
    const scene = newScene(work);
    await expect(scene.pull(`${proxy.host}/app:1`)).rejects.toEqual(
      failure('corrupt', /wrong part|damaged|instead of/),
    );
    expectNothing(scene);
  });
});

describe('a server that is busy', () => {
  test.each([
    [429, { 'retry-after': '0' }],
    [429, {}],
    [503, { 'retry-after': new Date(0).toUTCString() }],
    [500, {}],
    [502, { 'retry-after': 'soon' }],
  ])('is retried: %i %o', async (status, headers) => {
    const turnedAway = new Set<string>();
    const proxy = await proxyWith({
      answer: (request, response) => {
        if (turnedAway.has(request.url!)) return false;
        turnedAway.add(request.url!);
        response.writeHead(status, headers).end();
        return true;
      },
    });
    const scene = newScene(work);
    await expectRight(scene, (await scene.pull(`${proxy.host}/app:1`)).digest);
    expect(turnedAway.size).toBe(5);
  });

  test('is not waited for longer than two minutes', async () => {
    const proxy = await proxyWith({
      answer: (request, response) => {
        if (!isBlob(request)) return false;
        response.writeHead(429, { 'retry-after': '86400' });
        response.end(JSON.stringify({ errors: [{ code: 'TOOMANYREQUESTS', message: 'slow\r\ndown\x1b[31m' }] }));
        return true;
      },
    });
    const scene = newScene(work);
    await expect(scene.pull(`${proxy.host}/app:1`)).rejects.toEqual(
      failure('network', /HTTP status 429: slow down \[31m: it asks to retry after 86400 seconds$/),
    );
    expectNothing(scene);
  });

  test('fails the pull if it stays busy for six attempts', async () => {
    const proxy = await proxyWith({
      answer: (_, response) => {
        response.writeHead(503).end();
        return true;
      },
    });
    const scene = newScene(work);
    await expect(scene.pull(`${proxy.host}/app:1`)).rejects.toEqual(failure('network', /HTTP status 503$/));
    expect(proxy.requests.filter(({ path }) => path.includes('/manifests/')).length).toBe(6);
    expectNothing(scene);
  });
});

describe('a redirect', () => {
  function redirect(response: ServerResponse, location: string): true {
    response.writeHead(307, { location }).end();
    return true;
  }

  test('to another host is followed without our credentials', async () => {
    const storage = await proxyWith({});
    const wantsPassword = await proxyWith({
      answer: (request, response) => {
        if (request.headers.authorization === undefined) {
          response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
          return true;
        }
        return isBlob(request) && redirect(response, `http://${storage.host}${request.url}`);
      },
    });
    const scene = newScene(work);
    const config = mkdtempSync(join(work, 'docker-'));
    const auth = Buffer.from('me:secret').toString('base64');
    writeFileSync(join(config, 'config.json'), JSON.stringify({ auths: { [wantsPassword.host]: { auth } } }));
    process.env.DOCKER_CONFIG = config;
    try {
      await expectRight(scene, (await scene.pull(`${wantsPassword.host}/app:1`)).digest);
    } finally {
      delete process.env.DOCKER_CONFIG;
    }
    expect(storage.requests.length).toBe(4);
    expect(storage.requests.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
    expect(wantsPassword.requests.some(({ headers }) => headers.authorization === `Basic ${auth}`)).toBe(true);
  });

  test.each([
    ['to itself', (host: string, path: string) => `http://${host}${path}`, /redirects more than 10 times/],
    ['to another host without TLS', (_: string, path: string) => `http://192.0.2.1${path}`, /without TLS/],
    ['to another protocol', () => 'file:///etc/passwd', /without TLS/],
  ])('%s is not followed', async (_, target, message) => {
    const proxy: FaultyProxy = await proxyWith({
      answer: (request, response) => isBlob(request) && redirect(response, target(proxy.host, request.url!)),
    });
    const scene = newScene(work);
    await expect(scene.pull(`${proxy.host}/app:1`)).rejects.toEqual(failure('network', message));
    expectNothing(scene);
  });
});

describe('a mirror', () => {
  test('is used in place of the registry', async () => {
    const mirror = await proxyWith({});
    const upstream = await proxyWith({});
    const scene = newScene(work);
    const settings = { [upstream.host]: { mirrors: [`http://${mirror.host}/`] } };
    const pulled = await scene.pull(`${upstream.host}/app:1`, { settings });
    await expectRight(scene, pulled.digest);
    expect(pulled.name).toBe(`${upstream.host}/app:1`);
    expect(upstream.requests).toEqual([]);
  });

  test.each([
    ['is down', 'http://127.0.0.1:9/'],
    ['lacks the image', null],
  ])('that %s is skipped', async (_, url) => {
    const mirror = await proxyWith({
      answer: (_request, response) => {
        response.writeHead(404).end();
        return true;
      },
    });
    const scene = newScene(work);
    const settings = { [registry.host]: { mirrors: [url ?? `http://${mirror.host}/`] } };
    await expectRight(scene, (await scene.pull(`${registry.host}/app:1`, { settings })).digest);
  });

  test('that fails in the middle of a layer is replaced: the registry sends the rest', async () => {
    let asked = 0;
    const mirror = await proxyWith({
      breakAfter: (request) => (isLargeLayer(request) ? (asked++ === 0 ? 200_000 : 0) : null),
    });
    const upstream = await proxyWith({});
    const scene = newScene(work);
    const settings = { [upstream.host]: { mirrors: [`http://${mirror.host}/`] } };
    await expectRight(scene, (await scene.pull(`${upstream.host}/app:1`, { settings })).digest);
    const ranges = upstream.requests.map(({ headers }) => headers.range);
    expect(ranges).toEqual([expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
  });
});

test('a registry that does not name the digest of a manifest is believed the bytes alone', async () => {
  const manifest = readFileSync(join(work, 'layout/blobs/sha256', written.manifestDigest.slice(7)));
  const proxy = await proxyWith({
    answer: ({ url = '' }, response) => {
      if (!url.includes('/manifests/')) return false;
      response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }).end(manifest);
      return true;
    },
  });
  const scene = newScene(work);
  await expectRight(scene, (await scene.pull(`${proxy.host}/app:1`)).digest);
  expect((await storeOf(scene).resolve(`${proxy.host}/app@${written.manifestDigest}`)).digest).toBe(written.imageId);
});

describe('a registry that lies', () => {
  function manifestWith(change: (manifest: Record<string, unknown>) => void): Buffer {
    const path = join(work, 'layout/blobs/sha256', written.manifestDigest.slice(7));
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    change(manifest);
    return Buffer.from(JSON.stringify(manifest));
  }

  async function pullManifest(bytes: Buffer, headers: Record<string, string> = {}): Promise<unknown> {
    const proxy = await proxyWith({
      answer: (request, response) => {
        if (!request.url!.includes('/manifests/')) return false;
        response
          .writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json', ...headers })
          .end(bytes);
        return true;
      },
    });
    const scene = newScene(work);
    const result = await scene.pull(`${proxy.host}/app:1`).catch((error) => error);
    expectNothing(scene);
    return result;
  }

  test.each<[string, Buffer | (() => Buffer), object]>([
    ['not JSON', Buffer.from('<html>'), failure('corrupt', /not JSON/)],
    ['not an object', Buffer.from('[]'), failure('corrupt', /not an object/)],
    ['an endless manifest', Buffer.alloc(5 << 20, ' '), failure('too-large', /longer than/)],
    [
      'an endless config',
      () =>
        manifestWith((manifest) => {
          (manifest.config as { size: number }).size = 2 ** 40;
        }),
      failure('too-large', /the image config has 1099511627776 bytes/),
    ],
    [
      'a foreign layer',
      () =>
        manifestWith((manifest) => {
          (manifest.layers as { mediaType: string }[])[1]!.mediaType =
            'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
        }),
      failure('unsupported', /foreign layer/),
    ],
    [
      'a manifest that is an index too',
      () =>
        manifestWith((manifest) => {
          manifest.manifests = [];
        }),
      failure('corrupt', /both an image index and a manifest/),
    ],
    [
      'an old manifest',
      () =>
        manifestWith((manifest) => {
          manifest.mediaType = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
        }),
      failure('unsupported', /manifest\.v1\+prettyjws are not supported/),
    ],
    [
      'an artifact',
      () =>
        manifestWith((manifest) => {
          (manifest.config as { mediaType: string }).mediaType = 'application/vnd.cncf.helm.config.v1+json';
        }),
      failure('not-an-image', /helm/),
    ],
    [
      'a size that is too small',
      () =>
        manifestWith((manifest) => {
          (manifest.layers as { size: number }[])[0]!.size = 10;
        }),
      failure('corrupt', /instead of 10/),
    ],
  ])('about its manifest is detected: %s', async (_, bytes, expected) => {
    expect(await pullManifest(typeof bytes === 'function' ? bytes() : bytes)).toEqual(expected);
  });

  test('about a digest is detected', async () => {
    const bytes = manifestWith(() => {});
    const headers = { 'docker-content-digest': sha256('else') };
    expect(await pullManifest(bytes, headers)).toEqual(failure('corrupt', /does not match its digest/));
  });
});
