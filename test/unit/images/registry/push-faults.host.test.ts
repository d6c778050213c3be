// Proves that a push survives a connection that breaks in any of its phases, before and after the
// registry has acted, and that a registry that takes too long ends it.
import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Faults, startFaultyProxy } from '../../../fixtures/faulty-proxy.js';
import { writeLayout } from '../../../fixtures/oci-layout.js';
import { Random } from '../../../fixtures/random.js';
import { type RunningRegistry, startRegistry } from '../../../fixtures/registry.js';
import { tar } from '../../../fixtures/tar-writer.js';
import { failure } from '../failure.js';
import { made, pushFrom, tagsOf } from './push-scene.js';
import { newScene, push as pushLayout, someLayers, storeOf } from './scene.js';

let work: string;
let registry: RunningRegistry;
let repositories = 0;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-push-faults-'));
  registry = await startRegistry(join(work, 'registry'));
});

afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  rmSync(work, { recursive: true, force: true });
});

/** Two chunks that do not compress. */
const large = (seed: number) => tar([{ path: 'large', data: Buffer.alloc(9 << 20, new Random(seed).bytes(65_537)) }]);

const PHASES: [string, (request: IncomingMessage) => boolean][] = [
  ['the question whether the config is there', ({ method }) => method === 'HEAD'],
  ['the start of an upload', ({ method }) => method === 'POST'],
  ['the first chunk', ({ method, headers }) => method === 'PATCH' && /^0-/.test(headers['content-range'] ?? '')],
  ['the second chunk', ({ method, headers }) => method === 'PATCH' && /^8388608-/.test(headers['content-range'] ?? '')],
  ['the end of an upload', ({ method, url = '' }) => method === 'PUT' && url.includes('/blobs/')],
  ['the manifest', ({ method, url = '' }) => method === 'PUT' && url.includes('/manifests/')],
];

/** Pushes through a proxy, and expects that the registry has the whole image in the end. */
async function pushThrough(faults: Faults): Promise<void> {
  const repository = `faults/${++repositories}`;
  await using proxy = await startFaultyProxy(registry.host, faults);
  const name = `${proxy.host}/${repository}:1`;
  const scene = await made(work, [large(repositories), ...someLayers(repositories)], name);
  const { digest } = await pushFrom(scene, name);
  expect((await newScene(work).pull(`${registry.host}/${repository}:1`)).manifest).toBe(digest);
}

describe.each(PHASES)('a connection that breaks in %s', (_, isPhase) => {
  test('before the registry has all of it', async () => {
    let breaks = 2;
    await pushThrough({ cutAfter: (request) => (isPhase(request) && breaks-- > 0 ? 100_000 : null) });
    expect(breaks).toBeLessThan(2);
  });

  test('after the registry has acted', async () => {
    let breaks = 2;
    await pushThrough({ loseAnswer: (request) => isPhase(request) && breaks-- > 0 });
    expect(breaks).toBeLessThan(2);
  });
});

test.each([1, 2, 3])('connections that break at random bytes of any request: seed %i', async (seed) => {
  const random = new Random(seed);
  let breaks = 4;
  await pushThrough({
    cutAfter: () => (random.chance(0.3) && breaks-- > 0 ? random.below(6 << 20) : null),
    loseAnswer: () => random.chance(0.1) && breaks-- > 0,
  });
});

test('a registry that breaks each chunk is given up in one line, and has no tag', async () => {
  await using proxy = await startFaultyProxy(registry.host, {
    cutAfter: ({ method }) => (method === 'PATCH' ? 50_000 : null),
  });
  const name = `${proxy.host}/broken:1`;
  const scene = await made(work, [large(99)], name);
  await expect(pushFrom(scene, name)).rejects.toEqual(
    failure('network', /^cannot push \S+\/broken:1: the upload of a layer to \S+ was lost: [^\n]+$/),
  );
  expect([tagsOf(registry, 'broken'), scene.leftovers()]).toEqual([[], []]);
});

test('a registry that gives no answer in time is given up', async () => {
  await using proxy = await startFaultyProxy(registry.host, {
    hold: ({ method }) => (method === 'POST' ? new Promise(() => {}) : Promise.resolve()),
  });
  const name = `${proxy.host}/silent:1`;
  const scene = await made(work, someLayers(50), name);
  await expect(pushFrom(scene, name, { settings: { [proxy.host]: { timeout: 2 } } })).rejects.toEqual(
    failure('network', /^cannot push \S+\/silent:1: \S+ sent nothing for 2 seconds$/),
  );
});

describe('a layer that is copied from another registry', () => {
  async function copiedThrough(repository: string, faults: Faults) {
    const layers = [large(repositories + 200)];
    const written = writeLayout(join(work, `layout-${repository}`), layers);
    await using source = await startRegistry(join(work, `source-${repository}`));
    await pushLayout(join(work, `layout-${repository}`), `${source.host}/app:1`);
    let isFaulty = false;
    await using proxy = await startFaultyProxy(source.host, {
      breakAfter: (request) => (isFaulty ? (faults.breakAfter?.(request) ?? null) : null),
    });
    const scene = newScene(work);
    await scene.pull(`${proxy.host}/app:1`);
    const name = `${registry.host}/${repository}:1`;
    await storeOf(scene).tag(`${proxy.host}/app:1`, name);
    isFaulty = true;
    return { written, name, pushed: await pushFrom(scene, name) };
  }

  test('keeps its digest when the source breaks in the middle of it', async () => {
    let breaks = 3;
    const { written, pushed } = await copiedThrough('copied', { breakAfter: () => (breaks-- > 0 ? 20_000 : null) });
    expect(pushed).toMatchObject({ digest: written.manifestDigest, recompressed: [] });
    expect(breaks).toBeLessThan(1);
  });

  test('is compressed anew if the source gives never more than its beginning', async () => {
    const { written, name, pushed } = await copiedThrough('cut-short', {
      breakAfter: ({ url = '' }) => (url.includes('/blobs/') ? 1 : null),
    });
    expect(pushed.recompressed).toEqual(written.diffIds);
    expect((await newScene(work).pull(name)).digest).toBe(written.imageId);
  });
});
