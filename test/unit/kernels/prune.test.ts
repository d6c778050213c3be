// Proves that a prune removes what no run boots, and nothing that one does.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { directoryName, kernelHash } from '../../../kernels/cache.js';
import { findPulled, kernelDirectory, pruneKernels } from '../../../kernels/index.js';
import { modulesRecipe } from '../../../kernels/modules/list.js';

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'kernels-'));
});
afterEach(() => rmSync(cache, { recursive: true, force: true }));

const OTHER_HASH = '0123456789abcdef';

/** Makes a folder with files of 100 bytes. @returns its name */
function place(entry: string, files: readonly string[]): string {
  mkdirSync(join(cache, entry));
  for (const file of files) writeFileSync(join(cache, entry, file), Buffer.alloc(100));
  return entry;
}
const built = (name: 'guest' | 'lab', version: string, hash = kernelHash(name)) =>
  place(directoryName(name, version, hash), ['config', 'bzImage', 'vmlinux']);
const pulled = (name: string, version: string, hash = modulesRecipe('virtio_mmio')) =>
  place(directoryName(name, version, hash), ['kernel', 'modules.cpio', 'config']);

test('of each kernel the newest version stays', async () => {
  const old = [built('guest', '6.1.9-1'), pulled('debian', '6.1.9-1'), pulled('debian', '6.1.8-1')];
  const kept = [
    built('guest', '6.1.10-1'),
    built('lab', '6.1.9-1'),
    pulled('debian', '6.1.10-1'),
    pulled('debian-generic', '6.1.9-1'),
    built('guest', '6.1.9-1', OTHER_HASH),
    pulled('debian', '6.1.9-1', OTHER_HASH),
    place(`prepared-${OTHER_HASH}`, ['kernel', 'modules.cpio']),
    place('of-another-program', ['kernel']),
  ];
  const { directories, reclaimed } = await pruneKernels({ cache });
  expect(directories.sort()).toEqual(old.map((name) => join(cache, name)).sort());
  expect(reclaimed).toBe(900);
  expect(readdirSync(cache).sort()).toEqual([...kept].sort());
  expect(kernelDirectory('guest', cache)).toBe(join(cache, kept[0]!));
  expect(findPulled('debian', cache)?.version).toBe('6.1.10-1');
});

test('of all, only what this version of tsvm boots stays', async () => {
  const kept = [built('guest', '6.1.10-1'), pulled('debian', '6.1.10-1')];
  built('guest', '6.1.11-1', OTHER_HASH);
  pulled('debian', '6.1.11-1', OTHER_HASH);
  place(`prepared-${OTHER_HASH}`, ['kernel', 'modules.cpio']);
  const other = place('of-another-program', ['kernel']);
  await pruneKernels({ cache, all: true });
  expect(readdirSync(cache).sort()).toEqual([...kept, other].sort());
});

test('an empty cache and none are left as they are', async () => {
  expect(await pruneKernels({ cache })).toEqual({ directories: [], reclaimed: 0 });
  expect(readdirSync(cache)).toEqual([]);
  const none = join(cache, 'none');
  expect(await pruneKernels({ cache: none })).toEqual({ directories: [], reclaimed: 0 });
  expect(existsSync(none)).toBe(false);
});

test('a cache that cannot be written is one clear line', async () => {
  const file = join(cache, 'file');
  writeFileSync(file, '');
  await expect(pruneKernels({ cache: file })).rejects.toThrow(
    /^cannot write to the cache of kernels: .*ENOTDIR|EEXIST/,
  );
});
