// Proves how built kernels are hashed, found and listed.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  directoryName,
  fragmentPaths,
  hashFragments,
  kernelCache,
  kernelDirectory,
  kernelHash,
  listKernels,
  patchPaths,
} from '../../../kernels/cache.js';
import { kernelPath } from '../../../kernels/index.js';

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'kernels-'));
});
afterEach(() => rmSync(cache, { recursive: true, force: true }));

/** Creates the files that a build leaves in the cache. */
function place(entry: string, files = ['vmlinux', 'bzImage', 'config']): string {
  const directory = join(cache, entry);
  mkdirSync(directory);
  for (const file of files) writeFileSync(join(directory, file), '');
  return directory;
}

const OTHER_HASH = '0123456789abcdef';

describe('hashFragments', () => {
  const hash = (...fragments: string[]) => hashFragments(fragments.map((text) => Buffer.from(text)));

  it('is 16 hex digits, and the same for the same fragments', () => {
    expect(hash('CONFIG_A=y')).toMatch(/^[0-9a-f]{16}$/);
    expect(hash('CONFIG_A=y')).toBe(hash('CONFIG_A=y'));
  });

  it('changes with a fragment, the order of the fragments, and where one ends', () => {
    const hashes = [hash('ab', 'c'), hash('a', 'bc'), hash('c', 'ab'), hash('abc'), hash('ab', 'd')];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('covers the patches of a kernel', () => {
    const fragments = fragmentPaths('uml').map((path) => readFileSync(path));
    expect(patchPaths('uml').length).toBeGreaterThan(0);
    expect(kernelHash('uml')).not.toBe(hashFragments(fragments));
  });

  it('differs between the kernels', () => {
    expect(kernelHash('guest')).not.toBe(kernelHash('lab'));
  });
});

describe('kernelCache', () => {
  it("is $TSVM_KERNEL_CACHE, or in $XDG_CACHE_HOME, or in the user's .cache", () => {
    expect(kernelCache({ TSVM_KERNEL_CACHE: '/k', XDG_CACHE_HOME: '/x' })).toBe('/k');
    expect(kernelCache({ XDG_CACHE_HOME: '/x' })).toBe('/x/tsvm/kernels');
    expect(kernelCache({ XDG_CACHE_HOME: '' })).toMatch(/\/\.cache\/tsvm\/kernels$/);
  });
});

describe('kernelPath', () => {
  it('is undefined if there is no cache, or an empty one', () => {
    expect(kernelPath('guest', join(cache, 'none'))).toBeUndefined();
    expect(kernelPath('guest', cache)).toBeUndefined();
  });

  it('finds the kernel of the current fragments', () => {
    place(directoryName('guest', '6.2', OTHER_HASH));
    place(directoryName('lab', '6.1.9', kernelHash('lab')));
    const directory = place(directoryName('guest', '6.1.9', kernelHash('guest')));
    expect(kernelDirectory('guest', cache)).toBe(directory);
    expect(kernelPath('guest', cache)).toBe(join(directory, 'vmlinux'));
  });

  it('prefers the newest source, and compares versions number by number', () => {
    const [, newest] = ['6.1.9-1', '6.1.10-1', '6.1.10'].map((version) =>
      place(directoryName('guest', version, kernelHash('guest'))),
    );
    expect(kernelDirectory('guest', cache)).toBe(newest);
  });

  it('skips folders without a kernel, and those of a build in progress', () => {
    place(directoryName('guest', '6.1.9', kernelHash('guest')), ['config']);
    place('.build-01234567-1-89abcdef');
    place(`guest-${kernelHash('guest')}`);
    expect(kernelPath('guest', cache)).toBeUndefined();
  });
});

describe('listKernels', () => {
  it('lists every kernel by name, the newest source first, and marks those of the current fragments', () => {
    place(directoryName('lab', '6.1.9', OTHER_HASH));
    place(directoryName('guest', '6.1.9', OTHER_HASH));
    place(directoryName('guest', '6.1.10-2', kernelHash('guest')));
    place('guest.log', []);
    place(directoryName('guest', '6.1.9', 'not-a-hash'));
    const found = listKernels(cache).map(({ name, version, hash, current }) => ({ name, version, hash, current }));
    expect(found).toEqual([
      { name: 'guest', version: '6.1.10-2', hash: kernelHash('guest'), current: true },
      { name: 'guest', version: '6.1.9', hash: OTHER_HASH, current: false },
      { name: 'lab', version: '6.1.9', hash: OTHER_HASH, current: false },
    ]);
  });
});
