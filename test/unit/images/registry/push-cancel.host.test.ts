// Proves that a push which ends before its time leaves no upload in the registry: by its signal in
// any phase, by a failure, or because another repository's layer is not mounted.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { STORE } from '../../../../images/store/layout.js';
import { startFaultyProxy } from '../../../fixtures/faulty-proxy.js';
import { writeLayout } from '../../../fixtures/oci-layout.js';
import { Random } from '../../../fixtures/random.js';
import { type RunningRegistry, startRegistry } from '../../../fixtures/registry.js';
import { tar } from '../../../fixtures/tar-writer.js';
import { failure } from '../failure.js';
import { made, pushFrom, tagsOf, uploadsOf } from './push-scene.js';
import { newScene, push as pushLayout, type Scene, storeOf } from './scene.js';

let work: string;
let registry: RunningRegistry;
/** Its store has an image of three layers. */
let scene: Scene;
let image: string;
let seeds = 0;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-push-cancel-'));
  registry = await startRegistry(join(work, 'registry'));
  mkdirSync(join(registry.storage, 'repositories'), { recursive: true });
  scene = await made(work, [large(), small(), small()], 'made:1');
  image = (await storeOf(scene).resolve('made:1')).digest;
});

afterEach(() => {
  const left = uploadsOf(registry);
  const repositories = join(registry.storage, 'repositories');
  rmSync(repositories, { recursive: true });
  mkdirSync(repositories);
  expect(left).toEqual([]);
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(work, { recursive: true, force: true });
});

/** A layer that does not compress: of two chunks, or of one. */
const layer = (size: number) => tar([{ path: 'large', data: Buffer.alloc(size, new Random(++seeds).bytes(65_537)) }]);
const large = () => layer(9 << 20);
const small = () => layer(100_000);

const PHASES: [string, (request: IncomingMessage) => boolean][] = [
  ['asks for the config', ({ method }) => method === 'HEAD'],
  ['begins an upload', ({ method }) => method === 'POST'],
  ['sends the first chunk', ({ headers }) => /^0-/.test(headers['content-range'] ?? '')],
  ['sends the second chunk', ({ headers }) => /^8388608-/.test(headers['content-range'] ?? '')],
  ['ends an upload', ({ method, url = '' }) => method === 'PUT' && url.includes('/blobs/')],
  ['sends the manifest', ({ method, url = '' }) => method === 'PUT' && url.includes('/manifests/')],
];

const never = () => new Promise<void>(() => {});

describe.each(PHASES)('a push that is aborted while it %s', (_, isPhase) => {
  const reason = new Error('enough');

  async function aborted(hold: (abort: () => void) => Promise<void> | undefined) {
    const controller = new AbortController();
    const abort = () => controller.abort(reason);
    await using proxy = await startFaultyProxy(registry.host, {
      hold: async (request) => (isPhase(request) ? hold(abort) : undefined),
    });
    const name = `${proxy.host}/aborted:1`;
    await storeOf(scene).tag(image, name);
    await expect(pushFrom(scene, name, { signal: controller.signal })).rejects.toBe(reason);
    expect([tagsOf(registry, 'aborted'), scene.leftovers()]).toEqual([[], []]);
  }

  test('and the registry is silent', async () => {
    await aborted((abort) => {
      abort();
      return never();
    });
  });

  test('and the request is on its way', async () => {
    await aborted((abort) => {
      setImmediate(abort);
      return undefined;
    });
  });
});

test('a push that was aborted before it begins asks for nothing', async () => {
  await using proxy = await startFaultyProxy(registry.host, {});
  const name = `${proxy.host}/before:1`;
  await storeOf(scene).tag(image, name);
  const reason = new Error('enough');
  await expect(pushFrom(scene, name, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(proxy.requests).toEqual([]);
});

test('a push whose source of a layer is silent ends with its signal', async () => {
  await using source = await startRegistry(join(work, 'source'));
  const controller = new AbortController();
  const reason = new Error('enough');
  let isSilent = false;
  await using proxy = await startFaultyProxy(source.host, {
    hold: async ({ url = '' }) => {
      if (!isSilent || !url.includes('/blobs/')) return;
      setImmediate(() => controller.abort(reason));
      await never();
    },
  });
  writeLayout(join(work, 'copied'), [small()]);
  await pushLayout(join(work, 'copied'), `${source.host}/app:1`);
  const scene = newScene(work);
  await scene.pull(`${proxy.host}/app:1`);
  isSilent = true;
  await storeOf(scene).tag(`${proxy.host}/app:1`, `${registry.host}/copied:1`);
  await expect(pushFrom(scene, `${registry.host}/copied:1`, { signal: controller.signal })).rejects.toBe(reason);
});

test('a push that fails in one layer cancels the uploads of the others', async () => {
  let patches = 0;
  await using proxy = await startFaultyProxy(registry.host, {
    answer({ method }, response) {
      if (method !== 'PATCH' || patches++ < 1) return false;
      response.writeHead(403).end();
      return true;
    },
  });
  const name = `${proxy.host}/refused:1`;
  await storeOf(scene).tag(image, name);
  await expect(pushFrom(scene, name)).rejects.toEqual(failure('network', /status 403/));
});

test('a layer that cannot be read cancels its upload', async () => {
  const name = `${registry.host}/damaged:1`;
  const scene = await made(work, [large()], name);
  const folder = join(scene.home, STORE, 'layers');
  const [data] = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('/data'));
  writeFileSync(join(folder, data!), '');
  await expect(pushFrom(scene, name)).rejects.toMatchObject({ name: 'ImageError' });
  expect(tagsOf(registry, 'damaged')).toEqual([]);
});

test('a layer that another repository no longer has is uploaded, once', async () => {
  const scene = newScene(work);
  writeLayout(join(work, 'moved'), [small()]);
  await pushLayout(join(work, 'moved'), `${registry.host}/moved:1`);
  await scene.pull(`${registry.host}/moved:1`);
  const place = join(registry.storage, 'repositories/moved');
  rmSync(place, { recursive: true });
  await storeOf(scene).tag(`${registry.host}/moved:1`, `${registry.host}/here:1`);
  expect((await pushFrom(scene, `${registry.host}/here:1`)).phases).toEqual(['pushed']);
});
