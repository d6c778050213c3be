// Proves that a store takes no more of the disk than `$TSVM_STORE_SIZE` says, by whichever way
// images come in, and that what is refused leaves nothing.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { openBudget } from '../../../images/store/budget.js';
import { STORE } from '../../../images/store/layout.js';
import { measureTree } from '../../../libc/trees.js';
import { writeLayout } from '../../fixtures/oci-layout.js';
import { tar } from '../../fixtures/tar-writer.js';
import { failure } from './failure.js';
import { stored } from './stored.js';

const MIB = 1 << 20;
const FULL = failure(
  'no-space',
  /^[^\n]*the image store would exceed 6291456 bytes \(TSVM_STORE_SIZE\): remove images/,
);

let place: string;
let home: string;
let store: Store;

beforeEach(() => {
  place = mkdtempSync('/tmp/tsvm-budget-');
  home = join(place, 'home');
  store = openStore(home);
  vi.stubEnv('TSVM_STORE_SIZE', '6m');
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(place, { recursive: true });
});

/** A tar that takes as many bytes of the disk. */
const rootfs = (size: number): Buffer => tar([{ path: 'file', data: randomBytes(size) }]);
const layoutOf = (name: string, ...layers: Buffer[]): string => {
  writeLayout(join(place, name), layers, { tag: name });
  return join(place, name);
};
const used = async (): Promise<number> => (await measureTree(join(home, STORE))).bytes;

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

/** The ways in. Each adds an image of 8 MiB. */
const WAYS: [string, () => Promise<unknown>][] = [
  ['import', () => store.import(pieces(rootfs(8 * MIB)), 'large')],
  [
    'import of compressed data',
    () => store.import(pieces(gzipSync(tar([{ path: 'a', data: 'A'.repeat(8 * MIB) }]))), 'large'),
  ],
  ['load', () => store.load(layoutOf('large', rootfs(8 * MIB)))],
  [
    'layers that fit one by one',
    () => store.load(layoutOf('large', rootfs(3 * MIB), rootfs(3 * MIB), rootfs(2 * MIB))),
  ],
  ['a reference to a layout', () => store.resolve(`oci:${layoutOf('large', rootfs(8 * MIB))}`)],
  ['a compressed archive, which is unpacked beside the store', () => store.load(pieces(gzipSync(rootfs(8 * MIB))))],
  ['commit', async () => store.commit((await store.inspect('small')).Id, pieces(rootfs(8 * MIB)), { name: 'large' })],
];

test.each(WAYS)('an image that comes by %s is refused if the store would exceed its size', async (_, add) => {
  await store.import(pieces(rootfs(MIB)), 'small');
  const before = stored(home);
  await expect(add()).rejects.toEqual(FULL);
  expect(stored(home)).toEqual(before);
  expect((await store.list()).map(({ name }) => name)).toEqual(['small']);
});

test('images are added until the store is full, and again once one is removed', async () => {
  await store.import(pieces(rootfs(2 * MIB)), 'one');
  await store.import(pieces(rootfs(2 * MIB)), 'two');
  await expect(store.import(pieces(rootfs(3 * MIB)), 'three')).rejects.toEqual(FULL);
  await store.remove('one');
  await store.import(pieces(rootfs(3 * MIB)), 'three');
  expect((await store.list()).map(({ name }) => name).sort()).toEqual(['three', 'two']);
  expect(await used()).toBeLessThanOrEqual(6 * MIB);
});

test('several that come at once do not exceed it together', async () => {
  const results = await Promise.allSettled(
    [1, 2, 3, 4].map((number) => openStore(home).import(pieces(rootfs(2 * MIB)), `image:${number}`)),
  );
  expect(await used()).toBeLessThanOrEqual(6 * MIB);
  for (const result of results) {
    if (result.status === 'rejected') expect(result.reason).toEqual(FULL);
  }
  expect(await store.list()).toHaveLength(results.filter(({ status }) => status === 'fulfilled').length);
});

test('holes take no space', async () => {
  await store.import(pieces(gzipSync(tar([{ path: 'zeros', data: Buffer.alloc(32 * MIB) }]))), 'zeros');
  expect(await used()).toBeLessThan(MIB);
});

test('a store that is too full by a new limit still names, lists and removes its images', async () => {
  const { digest } = await store.import(pieces(rootfs(2 * MIB)), 'one');
  vi.stubEnv('TSVM_STORE_SIZE', '1m');
  expect((await store.resolve('one')).digest).toBe(digest);
  await store.tag('one', 'two');
  expect(await store.list()).toHaveLength(2);
  await store.remove('one');
  await store.remove('two');
  expect(await store.list()).toEqual([]);
});

describe('$TSVM_STORE_SIZE', () => {
  test.each(['20', '20b', '5k', '5KB', '20g', '1T'])('%s is a size', (text) => {
    vi.stubEnv('TSVM_STORE_SIZE', text);
    expect(() => openBudget(home)).not.toThrow();
  });

  test.each(['x', '-1', '1.5g', '20 g', '5x', '999999999999t'])('%s is refused in one line', async (text) => {
    vi.stubEnv('TSVM_STORE_SIZE', text);
    const message = `TSVM_STORE_SIZE is not a size such as 20g: ${JSON.stringify(text)}`;
    await expect(store.import(pieces(rootfs(1)), 'one')).rejects.toEqual(failure('bad-settings', message));
  });

  test('that is empty or absent limits nothing', async () => {
    vi.stubEnv('TSVM_STORE_SIZE', '');
    await store.import(pieces(rootfs(8 * MIB)), 'large');
    expect(await store.list()).toHaveLength(1);
  });
});

test('a damaged archive is told as such, also with a limit', async () => {
  const file = join(place, 'file');
  writeFileSync(file, 'no archive');
  await expect(store.load(file)).rejects.toEqual(failure('not-an-image'));
});
