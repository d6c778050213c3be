// Proves that the source of a bind mount is a file, not a name: what a guest puts in its place is
// not mounted.
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Home } from '../../../../sandbox/home/home.js';
import { findSource, openSource } from '../../../../sandbox/home/mount-sources.js';
import { openShares } from '../../../../sandbox/run/shares.js';
import type { BindMount } from '../../../../sandbox/spec/mounts.js';
import { makeContainer } from './containers.js';

let folder: string;
let home: Home;

beforeEach(() => {
  folder = realpathSync(mkdtempSync('/tmp/tsvm-test-'));
  home = new Home(join(folder, 'home'), join(folder, 'runtime'));
  mkdirSync(join(folder, 'work/cache/deep'), { recursive: true });
  mkdirSync(join(folder, 'secret/deep'), { recursive: true });
  writeFileSync(join(folder, 'work/file'), 'file');
  writeFileSync(join(folder, 'secret/file'), 'secret');
});

afterEach(() => rmSync(folder, { recursive: true }));

const bind = (path: string): BindMount => {
  const source = join(folder, path);
  return { type: 'bind', source, target: '/mnt', file: findSource(source, home.sharedFolders) };
};

/** A container that may write the folder. Returns a function that removes it. */
async function share(path: string, readOnly = false): Promise<() => void> {
  const mounts = [{ ...bind(path), readOnly }];
  const container = await makeContainer(home, `box-${basename(path)}`, { mounts });
  await home.containers.withLock(() => home.sharedFolders.add(mounts));
  return () => container.remove(home.runtime);
}

function opened(mount: BindMount): string {
  const before = readdirSync('/proc/self/fd').length;
  const { fd, path } = openSource(mount, home.sharedFolders);
  const { dev, ino } = fstatSync(fd);
  closeSync(fd);
  expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  const named = statSync(path);
  expect([named.dev, named.ino]).toEqual([dev, ino]);
  return path;
}

/** Puts a link in place of a file of the folder. */
function swap(path: string, target: string): void {
  rmSync(join(folder, path), { recursive: true });
  symlinkSync(target, join(folder, path));
}

test('a folder and a file are found, and opened', () => {
  expect(bind('work/cache').file).toMatchObject({ path: join(folder, 'work/cache'), type: 'folder' });
  expect(bind('work/file').file).toMatchObject({ path: join(folder, 'work/file'), type: 'file' });
  expect(opened(bind('work/cache'))).toBe(join(folder, 'work/cache'));
  expect(opened(bind('work//./file'))).toBe(join(folder, 'work/file'));
});

test("the user's own links are followed when the container is created, and not again", () => {
  symlinkSync('work', join(folder, 'link'));
  const mount = bind('link/cache');
  expect(mount.file?.path).toBe(join(folder, 'work/cache'));
  rmSync(join(folder, 'link'));
  symlinkSync('secret', join(folder, 'link'));
  expect(opened(mount)).toBe(join(folder, 'work/cache'));
});

describe('a link that appears after the container was created is not followed', () => {
  test.each([
    ['the folder', 'work/cache', 'work/cache'],
    ['the file', 'work/file', 'work/file'],
    ['a folder on the way', 'work/cache/deep', 'work/cache'],
  ])('in place of %s', (_, source, replaced) => {
    const mount = bind(source);
    swap(replaced, join(folder, replaced === 'work/file' ? 'secret/file' : 'secret'));
    const before = readdirSync('/proc/self/fd').length;
    expect(() => openSource(mount, home.sharedFolders)).toThrow(
      `bind source path cannot be mounted: ${mount.source}: a link is on its path since the container was created`,
    );
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });

  test('in the record of an older version, where a container may have made it', async () => {
    await share('work');
    const { file, ...mount } = bind('work/cache');
    expect(opened(mount)).toBe(join(folder, 'work/cache'));
    swap('work/cache', '../secret');
    expect(() => openSource(mount, home.sharedFolders)).toThrow(/a container may have made the link .*work\/cache: /);
  });
});

describe('what replaced a source', () => {
  test('is accepted if it has the same type and owner, as after a change by an editor', () => {
    const mount = bind('work/file');
    writeFileSync(join(folder, 'work/new'), 'new');
    renameSync(join(folder, 'work/new'), join(folder, 'work/file'));
    expect(readFileSync(opened(mount), 'utf8')).toBe('new');
  });

  test('is refused if it has another type', () => {
    const mount = bind('work/file');
    rmSync(join(folder, 'work/file'));
    mkdirSync(join(folder, 'work/file'));
    expect(() => openSource(mount, home.sharedFolders)).toThrow(/replaced by a file of another type or owner/);
  });

  test('is refused if it has another owner', () => {
    const { file, ...mount } = bind('work/file');
    const other = { ...mount, file: { ...file!, inode: file!.inode + 1, uid: file!.uid + 1 } };
    expect(() => openSource(other, home.sharedFolders)).toThrow(/replaced by a file of another type or owner/);
  });

  test('is accepted with another owner if it is the same file', () => {
    const { file, ...mount } = bind('work/file');
    expect(opened({ ...mount, file: { ...file!, uid: file!.uid + 1 } })).toBe(join(folder, 'work/file'));
  });
});

describe('a link that a container may have made is not followed', () => {
  test.each(['work/cache', 'work/cache/deep', 'outside/deep'])('on the way to %s', async (source) => {
    await share('work');
    swap('work/cache', '../secret');
    symlinkSync('work/cache', join(folder, 'outside'));
    expect(() => bind(source)).toThrow(
      `bind source path cannot be mounted: ${join(folder, source)}: a container may have made the link ` +
        `${join(folder, 'work/cache')}: give the path that it leads to`,
    );
  });

  test('after the container was removed', async () => {
    const remove = await share('work');
    swap('work/cache', '../secret');
    remove();
    expect(() => bind('work/cache')).toThrow(/a container may have made the link/);
    expect(opened(bind('secret'))).toBe(join(folder, 'secret'));
  });

  test.each(['moved/cache', 'moved/cache/deep'])('after the user renamed its folder to %s', async (source) => {
    const remove = await share('work');
    remove();
    swap('work/cache', '../secret');
    renameSync(join(folder, 'work'), join(folder, 'moved'));
    expect(() => bind(source)).toThrow(
      `bind source path cannot be mounted: ${join(folder, source)}: a container may have made the link ` +
        `${join(folder, 'moved/cache')}: give the path that it leads to`,
    );
    // Its path stays known.
    mkdirSync(join(folder, 'work'));
    symlinkSync('../secret', join(folder, 'work/cache'));
    expect(() => bind('work/cache')).toThrow(/a container may have made the link/);
  });

  test('after the user renamed a folder above its folder', async () => {
    mkdirSync(join(folder, 'projects/one/deep/er'), { recursive: true });
    const remove = await share('projects/one');
    remove();
    symlinkSync('/etc', join(folder, 'projects/one/deep/er/link'));
    renameSync(join(folder, 'projects'), join(folder, 'archive'));
    expect(() => bind('archive/one/deep/er/link')).toThrow(/a container may have made the link/);
  });

  test('in a volume', () => {
    const { mountpoint } = home.volumes.open('data');
    symlinkSync(join(folder, 'secret'), join(mountpoint, 'link'));
    expect(() => findSource(join(mountpoint, 'link'), home.sharedFolders)).toThrow(
      /a container may have made the link/,
    );
  });

  test('but one in a folder that it could only read is', async () => {
    await share('work', true);
    swap('work/cache', '../secret');
    expect(opened(bind('work/cache'))).toBe(join(folder, 'secret'));
  });

  test('but one beside its folder is', async () => {
    await share('work');
    symlinkSync('secret', join(folder, 'work-link'));
    expect(opened(bind('work-link'))).toBe(join(folder, 'secret'));
  });
});

test('no folder is forgotten, however many there are', async () => {
  await share('work');
  const { file } = bind('secret');
  const gone = Array.from({ length: 1000 }, (_, index) => ({
    ...{ ...bind('secret'), file: { ...file!, inode: file!.inode + index, path: join(folder, `gone-${index}`) } },
  }));
  await home.containers.withLock(() => home.sharedFolders.add(gone));
  swap('work/cache', '../secret');
  renameSync(join(folder, 'work'), join(folder, 'moved'));
  expect(() => bind('moved/cache')).toThrow(/a container may have made the link/);
});

describe('the list of folders that containers could write', () => {
  const list = () => join(home.containers.path, 'shared-folders.json');

  test('has each folder once', async () => {
    await share('work');
    const written = readFileSync(list(), 'utf8');
    await home.containers.withLock(() => home.sharedFolders.add([bind('work'), bind('work')]));
    expect(readFileSync(list(), 'utf8')).toBe(written);
    expect(JSON.parse(written)).toEqual([
      { path: join(folder, 'work'), inode: expect.any(Number), device: expect.any(Number), birth: expect.any(Number) },
    ]);
  });

  test('of an older version is read, and kept', async () => {
    const remove = await share('work');
    remove();
    writeFileSync(list(), JSON.stringify([join(folder, 'work')]));
    await home.containers.withLock(() => home.sharedFolders.add([bind('secret')]));
    swap('work/cache', '../secret');
    expect(() => bind('work/cache')).toThrow(/a container may have made the link/);
    expect(JSON.parse(readFileSync(list(), 'utf8'))).toMatchObject([
      join(folder, 'work'),
      { path: join(folder, 'secret') },
    ]);
  });

  test('knows a folder after the host was restarted and its disk has another number', async () => {
    const remove = await share('work');
    remove();
    const [entry] = JSON.parse(readFileSync(list(), 'utf8'));
    writeFileSync(list(), JSON.stringify([{ ...entry, device: entry.device + 1 }]));
    swap('work/cache', '../secret');
    renameSync(join(folder, 'work'), join(folder, 'moved'));
    expect(() => bind('moved/cache')).toThrow(/a container may have made the link/);
  });

  test('does not know a folder by its inode alone, which another file system or a new folder may have', async () => {
    const remove = await share('work');
    remove();
    const [entry] = JSON.parse(readFileSync(list(), 'utf8'));
    const others = [
      { ...entry, path: '/other', birth: entry.birth - 1 },
      { ...entry, path: '/other', birth: 0, device: entry.device + 1 },
    ];
    writeFileSync(list(), JSON.stringify(others));
    swap('work/cache', '../secret');
    expect(opened(bind('work/cache'))).toBe(join(folder, 'secret'));
  });

  test('has a folder that replaced another one since the container was created', async () => {
    const mounts = [bind('work')];
    const container = await makeContainer(home, 'box', { mounts });
    await home.containers.withLock(() => home.sharedFolders.add(mounts));
    renameSync(join(folder, 'work'), join(folder, 'old'));
    mkdirSync(join(folder, 'work'));
    symlinkSync('../secret', join(folder, 'work/link'));
    using _shares = await openShares(mounts, home);
    container.remove(home.runtime);
    renameSync(join(folder, 'work'), join(folder, 'moved'));
    expect(() => bind('moved/link')).toThrow(/a container may have made the link/);
  });
});

test.each([
  ['nothing', 'absent', /does not exist/],
  ['a name below a file', 'work/file/x', /does not exist/],
  ['a link to itself', 'loop', /too many links/],
])('%s is an error', (_, source, message) => {
  symlinkSync('loop', join(folder, 'loop'));
  const before = readdirSync('/proc/self/fd').length;
  expect(() => bind(source)).toThrow(message);
  expect(readdirSync('/proc/self/fd')).toHaveLength(before);
});

test('a source is found where the kernel finds it, whatever links are on the way', () => {
  const name = fc.constantFrom('a', 'b', 'c');
  const target = fc
    .array(fc.constantFrom('a', 'b', 'c', '..', '.'), { minLength: 1, maxLength: 4 })
    .chain((names) => fc.boolean().map((absolute) => `${absolute ? '/ROOT/' : ''}${names.join('/')}`));
  const entry = fc.tuple(fc.array(name, { minLength: 1, maxLength: 3 }), fc.option(target));
  let count = 0;
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 12 }), fc.array(name, { minLength: 1, maxLength: 4 }), (entries, path) => {
      const root = join(folder, `tree-${count++}`);
      mkdirSync(root);
      for (const [names, link] of entries) {
        const at = join(root, ...names);
        try {
          if (link === null) mkdirSync(at, { recursive: true });
          else symlinkSync(link.replace('/ROOT', root), at);
        } catch {
          // There is something else already.
        }
      }
      const source = join(root, ...path);
      // Node's own realpath takes `link/..` for nothing, before it has seen the link.
      const found = existsSync(source) ? realpathSync.native(source) : undefined;
      const find = () => findSource(source, home.sharedFolders).path;
      if (found === undefined) expect(find).toThrow(/bind source path/);
      else expect(find()).toBe(found);
    }),
  );
});
