// Proves what a store promises: names, shared layers, removal, damage, and concurrent processes.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { STORE } from '../../../images/store/layout.js';
import { writeLayout } from '../../fixtures/oci-layout.js';
import { Random } from '../../fixtures/random.js';
import { type TarMember, tar } from '../../fixtures/tar-writer.js';
import { bundleImages, finished } from './bundle.js';
import { checkedDisk } from './disk-view.js';
import { failure } from './failure.js';

let work: string;
let place: string;
let home: string;
let store: Store;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-store-'));
});

beforeEach(() => {
  place = mkdtempSync(join(work, 'test-'));
  home = join(place, 'home');
  store = openStore(home);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

/** Writes a tar and returns its path. */
function tarFile(name: string, members: TarMember[]): string {
  const path = join(place, name);
  writeFileSync(path, tar(members));
  return path;
}

function layout(name: string, layers: TarMember[][]): string {
  writeLayout(join(place, name), layers.map(tar));
  return `oci:${join(place, name)}`;
}

const ls = (folder: string): string[] =>
  existsSync(join(home, STORE, folder)) ? readdirSync(join(home, STORE, folder)) : [];

describe('a store', () => {
  test('that does not exist has no images, and a query does not create it', async () => {
    expect(await store.list()).toEqual([]);
    await expect(store.resolve('foo')).rejects.toEqual(failure('unknown-image', 'No such image: foo:latest'));
    await expect(store.remove('foo:1')).rejects.toEqual(failure('unknown-image', 'No such image: foo:1'));
    await expect(store.resolve('Foo')).rejects.toEqual(failure('bad-reference', /must be lowercase/));
    expect(existsSync(home)).toBe(false);
  });

  test('finds an image by each of its names and by its ID', async () => {
    const { digest, size } = await store.import(tarFile('a.tar', [{ path: 'a', data: 'a' }]), 'foo/bar:1');
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(size).toBeGreaterThan(4096);
    for (const name of ['foo/bar:1', 'docker.io/foo/bar:1', digest, digest.slice(7), digest.slice(7, 19)]) {
      const image = await store.resolve(name);
      expect(image.digest).toBe(digest);
      expect(image.disk.every(({ path, length }) => existsSync(path) && length % 4096 === 0)).toBe(true);
    }
    await expect(store.resolve('foo/bar')).rejects.toEqual(failure('unknown-image', 'No such image: foo/bar:latest'));
    await expect(store.resolve('foo/bar:1/x')).rejects.toEqual(failure('bad-reference'));
  });

  test('moves a name to the newest image that is given it', async () => {
    const first = await store.import(tarFile('a.tar', [{ path: 'a' }]), 'foo');
    const second = await store.import(tarFile('b.tar', [{ path: 'b' }]), 'foo');
    expect((await store.resolve('foo')).digest).toBe(second.digest);
    const listed = await store.list();
    expect(listed.map(({ name, tag, digest }) => [name, tag, digest])).toEqual([
      ['foo', 'latest', second.digest],
      [null, null, first.digest],
    ]);
  });

  test('keeps one copy of a layer for all its images, until the last of them is removed', async () => {
    const base: TarMember[] = [{ path: 'base', data: 'base' }];
    const one = await store.resolve(layout('one', [base, [{ path: 'one', data: '1' }]]));
    const two = await store.resolve(layout('two', [base, [{ path: 'two', data: '2' }]]));
    expect(ls('layers')).toHaveLength(3);
    expect(one.disk[1]).toEqual(two.disk[1]);
    const removed = await store.remove(one.digest);
    expect(removed).toEqual({ untagged: [], deleted: [one.digest, expect.stringMatching(/^sha256:/)] });
    expect(ls('layers')).toHaveLength(2);
    checkedDisk(two.disk, join(place, 'disk'));
    await store.remove(two.digest);
    expect([ls('layers'), ls('images'), ls('names'), ls('tmp')]).toEqual([[], [], [], []]);
  });

  test('removes only the name from an image that has another', async () => {
    const { digest } = await store.import(tarFile('a.tar', [{ path: 'a' }]), 'foo:1');
    mkdirSync(join(home, STORE, 'names', 'docker.io+library+bar'));
    writeFileSync(join(home, STORE, 'names', 'docker.io+library+bar', 'x'), `${digest}\n`);
    await expect(store.remove(digest)).rejects.toEqual(failure('in-use', /multiple repositories/));
    expect(await store.remove('foo:1')).toEqual({ untagged: ['foo:1'], deleted: [] });
    expect((await store.resolve('bar:x')).digest).toBe(digest);
    const { untagged, deleted } = await store.remove(digest.slice(7, 20));
    expect(untagged).toEqual(['bar:x']);
    expect(deleted).toHaveLength(2);
    expect(await store.list()).toEqual([]);
  });

  test('leaves files that are open readable after a removal', async () => {
    await store.import(tarFile('a.tar', [{ path: 'a', data: 'still here' }]), 'foo');
    const { disk } = await store.resolve('foo');
    const file = openSync(disk[1]!.path, 'r');
    await store.remove('foo');
    const bytes = Buffer.alloc(10);
    readSync(file, bytes, 0, 10, 0);
    closeSync(file);
    expect(bytes.toString()).toBe('still here');
    expect(existsSync(disk[1]!.path)).toBe(false);
  });

  test('runs an image without writing anything', async () => {
    const reference = layout('image', [[{ path: 'a', data: 'a' }]]);
    await store.resolve(reference);
    const before = execFileSync('find', [home, '-printf', '%p %T@ %C@\n'], { encoding: 'utf8' });
    await store.resolve(reference);
    await store.resolve((await store.list())[0]!.digest);
    expect(execFileSync('find', [home, '-printf', '%p %T@ %C@\n'], { encoding: 'utf8' })).toBe(before);
  });

  test('reports a damaged image, and can still remove it', async () => {
    await store.import(tarFile('a.tar', [{ path: 'a', data: 'a' }]), 'foo');
    const { disk } = await store.resolve('foo');
    truncateSync(disk[1]!.path, 0);
    await expect(store.resolve('foo')).rejects.toEqual(failure('corrupt', /damaged: load or import it again/));
    await store.remove('foo');
    expect(await store.list()).toEqual([]);
  });

  test('detects an index that has changed since it was written, and adds the layer again', async () => {
    const one = await store.resolve(layout('one', [[{ path: 'base', data: 'base' }]]));
    const index = join(home, STORE, 'layers', ls('layers')[0]!, 'index');
    const bytes = readFileSync(index);
    const changed = Buffer.from(bytes);
    changed[100]! ^= 1;
    chmodSync(index, 0o600);
    writeFileSync(index, changed);
    rmSync(one.disk[0]!.path);
    await expect(store.resolve(one.digest)).rejects.toEqual(failure('corrupt', /damaged: load or import it again/));
    const two = layout('two', [[{ path: 'base', data: 'base' }], [{ path: 'two', data: '2' }]]);
    checkedDisk((await store.resolve(two)).disk, join(place, 'disk'));
    expect(readFileSync(index)).toEqual(bytes);
    expect(await store.resolve(one.digest)).toEqual(one);
  });

  test('is unchanged after an import that fails', async () => {
    const file = join(place, 'cut.tar');
    writeFileSync(file, tar([{ path: 'a', data: 'a'.repeat(10_000) }]).subarray(0, 5000));
    await expect(store.import(file, 'foo')).rejects.toEqual(failure('corrupt', /cut\.tar.*middle of an entry/));
    await expect(store.import(join(place, 'none'), 'foo')).rejects.toEqual(failure('not-an-image', /no such file/));
    await expect(store.import(place, 'foo')).rejects.toEqual(failure('not-an-image', /is a directory/));
    await expect(store.import(file, 'Foo')).rejects.toEqual(failure('bad-reference'));
    expect([ls('layers'), ls('images'), ls('names'), ls('tmp')]).toEqual([[], [], [], []]);
  });
});

describe('a store that several processes use', () => {
  let run: Awaited<ReturnType<typeof bundleImages>>;
  let big: string;

  beforeAll(async () => {
    run = await bundleImages(work);
    const random = new Random(1);
    const members: TarMember[] = Array.from({ length: 2000 }, (_, i) => ({ path: `f${i}`, data: random.bytes(8000) }));
    big = join(work, 'big.tar');
    writeFileSync(big, tar(members));
  });

  test('has one copy of an image that three processes add at the same time', async () => {
    const directory = join(place, 'layout');
    writeLayout(directory, [readFileSync(big), tar([{ path: 'x', data: 'x' }])]);
    const expression = `store.resolve(${JSON.stringify(`oci:${directory}`)})`;
    const results = await Promise.all([1, 2, 3].map(() => finished(run(home, expression))));
    for (const { code, stdout, stderr } of results) expect([code, stderr, stdout]).toEqual([0, '', results[0]!.stdout]);
    expect([ls('layers').length, ls('images').length, ls('tmp').length]).toEqual([2, 1, 0]);
    checkedDisk((await store.resolve(`oci:${directory}`)).disk, join(place, 'disk'));
  });

  test('is whole while some processes add images and another removes them', async () => {
    const references = ['one', 'two', 'three'].map((name) =>
      layout(name, [[{ path: 'shared', data: 'shared' }], [{ path: name, data: name }]]),
    );
    const bring = `(async () => { for (let i = 0; i < 15; i++) for (const r of ${JSON.stringify(references)}) {
      try { await store.resolve(r) } catch (e) { if (!/damaged|No such/.test(e.message)) throw e } } })()`;
    const take = `(async () => { for (let i = 0; i < 40; i++) for (const { digest } of await store.list()) {
      try { await store.remove(digest) } catch (e) { if (e.code !== 'unknown-image') throw e } } })()`;
    const results = await Promise.all([run(home, bring), run(home, bring), run(home, take)].map(finished));
    for (const { code, stderr } of results) expect([code, stderr]).toEqual([0, '']);
    for (const reference of references) checkedDisk((await store.resolve(reference)).disk, join(place, 'disk'));
  });

  test('is whole after a process is killed while it imports', async () => {
    const random = new Random(2);
    for (let i = 0; i < 8; i++) {
      const child = run(home, `store.import(${JSON.stringify(big)}, 'killed')`);
      // The process is killed at a random moment after it begins to write.
      while (child.exitCode === null && ls('tmp').length === 0) await sleep(5);
      await sleep(random.below(120));
      child.kill('SIGKILL');
      await finished(child);
      for (const { digest } of await store.list()) {
        checkedDisk((await store.resolve(digest)).disk, join(place, 'disk'));
      }
    }
    const { digest } = await store.import(big, 'whole');
    expect(ls('tmp')).toEqual([]);
    checkedDisk((await store.resolve('whole')).disk, join(place, 'disk'));
    for (const image of await store.list()) if (image.digest !== digest) await store.remove(image.digest);
    expect([ls('layers').length, ls('images').length]).toEqual([1, 1]);
  });

  test('does not sweep the workspace of a living process', async () => {
    const child = run(home, `store.import('-', 'slow')`);
    const archive = readFileSync(big);
    child.stdin!.write(archive.subarray(0, 100_000));
    while (ls('tmp').length === 0) await sleep(5);
    await store.import(tarFile('a.tar', [{ path: 'a' }]), 'quick');
    expect(ls('tmp')).toHaveLength(1);
    child.stdin!.end(archive.subarray(100_000));
    const { code, stderr } = await finished(child);
    expect([code, stderr]).toEqual([0, '']);
    checkedDisk((await store.resolve('slow')).disk, join(place, 'disk'));
  });
});
