// Proves what the store guarantees: lost and damaged files are rebuilt, images in use stay, and a
// full or read-only disk gives one clear error.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openStore, type Store } from '../../../images/index.js';
import { STORE } from '../../../images/store/layout.js';
import { Disk } from '../../../vmm/devices/blk/disk.js';
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
let run: Awaited<ReturnType<typeof bundleImages>>;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-guarantees-'));
  run = await bundleImages(work);
});

beforeEach(() => {
  place = mkdtempSync(join(work, 'test-'));
  home = join(place, 'home');
  store = openStore(home);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

const ls = (folder: string): string[] =>
  existsSync(join(home, STORE, folder)) ? readdirSync(join(home, STORE, folder)) : [];

/** Every file of the store, with the inode number, size and times that a write would change. */
function fingerprint(): string {
  return execFileSync('find', [home, '-printf', '%p %i %s %T@ %C@\n'], { encoding: 'utf8' });
}

/** Writes a layout whose image is tagged `name:1`. */
function layout(name: string, layers: TarMember[][], folder = place): string {
  const directory = join(folder, name);
  writeLayout(directory, layers.map(tar), { tag: `${name}:1` });
  return directory;
}

describe("an image's disk", () => {
  const lose = {
    'a lost disk': (disk: string) => rmSync(disk),
    'a disk cut short': (disk: string) => truncateSync(disk, 4096),
    'a disk with one bit changed': (disk: string) => {
      const bytes = readFileSync(disk);
      bytes[bytes.length - 5000]! ^= 1;
      writeFileSync(disk, bytes);
    },
    'an empty record': (disk: string) => truncateSync(join(disk, '../record.json'), 0),
    'a lost record and disk': (disk: string) => {
      rmSync(disk);
      rmSync(join(disk, '../record.json'));
    },
  };

  test.each(Object.entries(lose))('is rebuilt after damage: %s', async (_, damage) => {
    const files = Array.from({ length: 200 }, (_, i) => ({ path: `file-${i}`, data: `${i}` }));
    await store.load(layout('image', [files, [{ path: '.wh.file-7' }]]));
    const before = await store.resolve('image:1');
    const whole = readFileSync(before.disk[0]!.path);
    damage(before.disk[0]!.path);
    expect((await store.list())[0]).toMatchObject({ name: 'image', tag: '1', digest: before.digest });
    expect(await store.resolve('image:1')).toEqual(before);
    expect(readFileSync(before.disk[0]!.path).equals(whole)).toBe(true);
    checkedDisk(before.disk, join(place, 'disk'));
    const now = fingerprint();
    await store.resolve('image:1');
    expect(fingerprint()).toBe(now);
    expect(ls('tmp')).toEqual([]);
  });

  test('can be rebuilt by several processes at once', async () => {
    await store.load(layout('image', [[{ path: 'a', data: 'a' }]]));
    const { disk } = await store.resolve('image:1');
    rmSync(disk[0]!.path);
    const results = await Promise.all([1, 2, 3].map(() => finished(run(home, `store.resolve('image:1')`))));
    for (const { code, stdout, stderr } of results) expect([code, stderr, stdout]).toEqual([0, '', results[0]!.stdout]);
    checkedDisk((await store.resolve('image:1')).disk, join(place, 'disk'));
  });
});

describe('a damaged layer', () => {
  test.each(['data', 'index', 'framing'])('is replaced when its image is loaded again: the %s', async (file) => {
    const directory = layout('image', [[{ path: 'a', data: 'contents' }]]);
    await store.load(directory);
    const { disk } = await store.resolve('image:1');
    truncateSync(join(disk[1]!.path, '..', file), 0);
    await store.load(directory);
    expect(await store.resolve('image:1')).toEqual({ ...(await store.resolve('image:1')), disk });
    checkedDisk(disk, join(place, 'disk'));
    expect(readFileSync(disk[1]!.path, 'latin1')).toMatch(/^contents/);
    expect([ls('layers').length, ls('tmp').length]).toEqual([1, 0]);
  });
});

describe('the next command that writes', () => {
  test('removes layers without an image and the temporary files of dead processes', async () => {
    await store.load(layout('image', [[{ path: 'a', data: 'a' }]]));
    const layer = ls('layers')[0];
    execFileSync('cp', ['-r', join(home, STORE, 'layers', layer!), join(home, STORE, 'layers', '0'.repeat(64))]);
    mkdirSync(join(home, STORE, 'tmp/wdead/half'), { recursive: true });
    await store.tag('image:1', 'image:2');
    expect([ls('layers'), ls('tmp')]).toEqual([[layer], []]);
  });
});

describe('an image in use', () => {
  test('stays while a machine has its disk open', async () => {
    await store.load(layout('image', [[{ path: 'a', data: 'a' }]]));
    const { digest, disk } = await store.resolve('image:1');
    await store.tag('image:1', 'second');
    using machineDisk = Disk.open({ id: 'image', readOnly: true, extents: disk });
    await store.remove('second');
    await expect(store.remove('image:1')).rejects.toEqual(
      failure(
        'in-use',
        'conflict: unable to delete image:1 (must be forced) - image is being used by a running container',
      ),
    );
    await expect(store.remove(digest, { force: true })).rejects.toEqual(failure('in-use', /cannot be forced/));
    expect(await store.prune({ all: true })).toEqual({ untagged: [], deleted: [], reclaimed: 0 });
    expect((await store.usage()).images).toMatchObject({ total: 1, active: 1, reclaimable: 0 });
    expect(await store.remove('image:1', { force: true })).toEqual({ untagged: ['image:1'], deleted: [] });
    checkedDisk((await store.resolve(digest)).disk, join(place, 'disk'));
    machineDisk[Symbol.dispose]();
    expect((await store.prune()).deleted).toContain(digest);
  });

  test('stays while a holder holds it, even without a machine', async () => {
    await store.load(layout('image', [[{ path: 'a', data: 'a' }]]));
    const digest = await store.hold('0123456789abcdef', 'image:1');
    await expect(store.remove('image:1')).rejects.toEqual(failure('in-use', /used by container 0123456789ab$/));
    expect((await openStore(home).prune({ all: true })).deleted).toEqual([]);
    await store.release('0123456789abcdef');
    await store.release('0123456789abcdef');
    expect((await store.remove('image:1')).deleted).toContain(digest);
    await expect(store.hold('../x', 'image:1')).rejects.toEqual(failure('bad-reference'));
    await expect(store.hold('x', 'image:1')).rejects.toEqual(failure('unknown-image'));
  });
});

describe('names by digest', () => {
  const digest = `sha256:${'ab'.repeat(32)}`;

  test('do not count as tags, and go with the last tag of their repository', async () => {
    await store.load(layout('image', [[{ path: 'a', data: 'a' }]]));
    const { digest: id } = await store.resolve('image:1');
    const beside = join(home, STORE, 'names', 'docker.io+library+image', digest);
    writeFileSync(beside, `${id}\n`);
    expect(await store.list()).toMatchObject([{ name: 'image', tag: '1' }]);
    expect((await store.inspect(id)).RepoTags).toEqual(['image:1']);
    expect((await store.inspect(id)).RepoDigests).toContain(`image@${digest}`);
    await store.tag(id, 'image:2');
    expect((await store.remove('image:2')).untagged).toEqual(['image:2']);
    expect((await store.remove(id)).untagged.sort()).toEqual(['image:1', `image@${digest}`]);
    expect(ls('names')).toEqual([]);
  });
});

describe('pruning', () => {
  test('removes images without a name, or all but those to keep', async () => {
    const base: TarMember[] = [{ path: 'base', data: Buffer.alloc(50_000, 1) }];
    for (const name of ['one', 'two', 'three']) await store.load(layout(name, [base, [{ path: name, data: name }]]));
    const [one, two, three] = await Promise.all(['one:1', 'two:1', 'three:1'].map((name) => store.resolve(name)));
    expect(await store.prune()).toEqual({ untagged: [], deleted: [], reclaimed: 0 });
    await store.tag('two:1', 'one:1');
    const first = await store.prune();
    expect(first.deleted).toEqual([one!.digest, expect.stringMatching(/^sha256:/)]);
    const before = (await store.usage()).images.size;
    const second = await store.prune({ all: true, keep: (digest) => digest === three!.digest });
    expect(second.untagged.sort()).toEqual(['one:1', 'two:1']);
    expect(second.deleted).toContain(two!.digest);
    expect(before - second.reclaimed).toBe((await store.usage()).images.size);
    checkedDisk((await store.resolve('three:1')).disk, join(place, 'disk'));
  });

  test('removes the folder of a repository that a killed process left without a tag', async () => {
    await store.load(layout('one', [[{ path: 'one', data: 'one' }]]));
    const names = ls('names');
    mkdirSync(join(home, STORE, 'names/127.0.0.1:5000+two'));
    await store.prune();
    expect(ls('names')).toEqual(names);
  });
});

describe('a full disk', () => {
  test('gives one clear error, keeps nothing of the new image, and allows removals', async () => {
    mkdirSync(home);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', home]);
    try {
      const random = new Random(1);
      await store.load(layout('small', [[{ path: 'a', data: random.bytes(500_000) }]]));
      const before = fingerprint();
      const large = layout('large', [[{ path: 'a', data: random.bytes(3_000_000) }], [{ path: 'b', data: 'b' }]]);
      const message = `cannot load ${large}: no space left on device`;
      await expect(store.load(large)).rejects.toEqual(failure('no-space', message));
      expect([ls('tmp'), ls('images').length, ls('layers').length]).toEqual([[], 1, 1]);
      expect(fingerprint().split('\n').length).toBe(before.split('\n').length);
      // Fill the last free block.
      spawnSync('dd', ['if=/dev/zero', `of=${join(home, 'filler')}`, 'bs=4096', 'status=none']);
      await expect(store.tag('small:1', 'small:2')).rejects.toEqual(failure('no-space'));
      checkedDisk((await store.resolve('small:1')).disk, join(place, 'disk'));
      expect((await store.remove('small:1')).deleted).toHaveLength(2);
      await store.load(layout('next', [[{ path: 'a', data: random.bytes(300_000) }]]));
      checkedDisk((await store.resolve('next:1')).disk, join(place, 'disk'));
    } finally {
      execFileSync('umount', [home]);
    }
  });
});

describe('a read-only store', () => {
  test('resolves and lists images, and refuses writes with one clear error', async () => {
    const directory = layout('image', [[{ path: 'a', data: 'a' }]]);
    await store.load(directory);
    const other = layout('other', [[{ path: 'b', data: 'b' }]]);
    execFileSync('mount', ['--bind', home, home]);
    try {
      execFileSync('mount', ['-o', 'remount,ro,bind', home]);
      const { digest, disk } = await store.resolve('image:1');
      expect((await store.resolve(`oci:${directory}`)).digest).toBe(digest);
      expect(await store.list()).toHaveLength(1);
      expect((await store.inspect('image:1')).Id).toBe(digest);
      expect((await store.usage()).images.total).toBe(1);
      checkedDisk(disk, join(place, 'disk'));
      const refused = failure('no-permission', `the image store ${join(home, STORE)} is read-only`);
      for (const write of [
        () => store.load(other),
        () => store.resolve(`oci:${other}`),
        () => store.tag('image:1', 'x'),
        () => store.remove('image:1'),
        () => store.prune(),
        () => store.hold('holder', 'image:1'),
      ]) {
        await expect(write()).rejects.toEqual(refused);
      }
    } finally {
      execFileSync('umount', [home]);
    }
  });
});
