// The volumes of cache mounts, and their locks.
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Caches, type RunMounts } from '../../../build/solve/run-mounts.js';
import { buildStore } from '../../../images/build.js';
import { Workshop } from './made.js';

let shop: Workshop;
beforeEach(() => {
  shop = new Workshop();
});
afterEach(() => shop[Symbol.dispose]());

/** The mounts of a RUN: caches of one ID, at targets of their own. */
function mounts(...sharings: ('shared' | 'private' | 'locked')[]): RunMounts {
  const rest = { type: 'cache', id: 'id', readOnly: false, mode: 0o755, uid: 0, gid: 0 } as const;
  const caches = sharings.map((sharing, index) => ({ ...rest, target: `/t${index}`, sharing }));
  return { binds: [], caches, tmpfs: [], secrets: [], ssh: [] };
}

const names = (caches: Caches): unknown[] => caches.mounts.map(({ source }) => source);

test('a RUN that mounts a locked cache twice does not wait for itself, and another one waits for both', async () => {
  await using steps = await buildStore(shop.home.path).begin();
  const caches = await Caches.open(mounts('locked', 'shared', 'locked'), steps, AbortSignal.timeout(60_000));
  const [name] = names(caches);
  expect(names(caches)).toEqual([name, name, name]);
  expect(steps.lock(`${name}`)).toBeUndefined();
  caches[Symbol.dispose]();
  using free = steps.lock(`${name}`);
  expect(free).toBeDefined();
});

test('private caches of one RUN are two', async () => {
  await using steps = await buildStore(shop.home.path).begin();
  using caches = await Caches.open(mounts('private', 'private'), steps, AbortSignal.timeout(60_000));
  expect(new Set(names(caches)).size).toBe(2);
});
