// Proves that trees which a guest makes can be measured and removed, whatever their names, depth
// and modes, and that nothing outside of them is touched.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { measureTree, removeTree, TreeError } from '../../../libc/trees.js';

let folder: string;
/** Is outside of the tree, and must stay. */
let outside: string;
let tree: string;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  outside = join(folder, 'outside');
  tree = join(folder, 'tree');
  mkdirSync(join(outside, 'inner'), { recursive: true });
  writeFileSync(join(outside, 'inner/file'), 'kept');
});

afterEach(() => {
  expect(readdirSync(outside)).toEqual(['inner']);
  expect(readdirSync(join(outside, 'inner'))).toEqual(['file']);
  execFileSync('rm', ['-rf', folder]);
});

const descriptors = (): number => readdirSync('/proc/self/fd').length;

function du(path: string): number {
  return Number.parseInt(execFileSync('du', ['-s', '--block-size=1', path], { encoding: 'latin1' }), 10);
}

function perl(script: string, ...words: string[]): void {
  execFileSync('perl', ['-e', script, ...words]);
}

test('a random tree has the size that du tells, and is gone afterwards', () => {
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 60 })
    .map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x41 : byte))))
    .filter((bytes) => !['.', '..'].includes(bytes.toString('latin1')));
  const entry = fc.record({
    parent: fc.nat(),
    name,
    kind: fc.constantFrom('folder', 'folder', 'file', 'link', 'hard link', 'closed folder'),
    size: fc.nat(20_000),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 40 }), (entries) => {
      mkdirSync(tree);
      const folders: Buffer[] = [Buffer.from(tree)];
      const files: Buffer[] = [];
      const closed: Buffer[] = [];
      for (const { parent, name, kind, size } of entries) {
        const path = Buffer.concat([folders[parent % folders.length]!, Buffer.from('/'), name]);
        if (existsSync(path)) continue;
        if (kind === 'folder') folders.push(path);
        if (kind === 'closed folder') closed.push(path);
        if (kind.endsWith('folder')) mkdirSync(path);
        else if (kind === 'link') symlinkSync(outside, path);
        else if (kind === 'hard link' && files.length > 0) linkSync(files[size % files.length]!, path);
        else {
          writeFileSync(path, Buffer.alloc(size, 1));
          files.push(path);
        }
      }
      const before = descriptors();
      expect(measureTree(tree)).toEqual({ bytes: du(tree), unread: 0 });
      for (const path of closed) chmodSync(path, 0);
      removeTree(tree);
      expect(existsSync(tree)).toBe(false);
      expect(descriptors()).toBe(before);
    }),
    { numRuns: 60 },
  );
});

test('a tree that is deeper than a path can say', () => {
  mkdirSync(tree);
  perl(
    'chdir shift; for (1..1500) { mkdir "d" x 200; chdir "d" x 200 or die $! } open F, ">file"; print F "x" x 9000',
    tree,
  );
  const before = descriptors();
  const { bytes, unread } = measureTree(tree);
  expect(unread).toBe(0);
  expect(bytes).toBeGreaterThanOrEqual(9000);
  removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  expect(descriptors()).toBe(before);
});

test('a tree with many names in each of its deep folders', () => {
  mkdirSync(tree);
  perl('chdir shift; for (1..60) { for (1..30) { open F, ">$_" } mkdir "a"; mkdir "b"; chdir "a" }', tree);
  expect(measureTree(tree)).toEqual({ bytes: du(tree), unread: 0 });
  removeTree(tree);
  expect(existsSync(tree)).toBe(false);
});

test('folders that their owner may not read are removed', () => {
  mkdirSync(join(tree, 'a/b/c'), { recursive: true });
  writeFileSync(join(tree, 'a/b/file'), '');
  for (const path of ['a/b/c', 'a/b', 'a', '']) chmodSync(join(tree, path), 0);
  removeTree(tree);
  expect(existsSync(tree)).toBe(false);
});

test('a file, a link and nothing', () => {
  writeFileSync(tree, 'x');
  expect(measureTree(tree).bytes).toBe(statSync(tree).blocks * 512);
  removeTree(tree);
  symlinkSync(outside, tree);
  removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  expect(measureTree(tree)).toEqual({ bytes: 0, unread: 0 });
  removeTree(tree);
  removeTree(join(folder, 'absent/tree'));
});

test('a tree whose folders are swapped for links and moved meanwhile leads nowhere else', async () => {
  mkdirSync(tree);
  perl('chdir shift; for my $a (0..19) { mkdir $a; for my $b (0..19) { mkdir "$a/$b"; open F, ">$a/$b/f" } }', tree);
  const script = `my ($tree, $outside) = @ARGV; chdir $tree; $| = 1; print "on\\n";
    for (;;) {
      my ($a, $b) = (int rand 20, int rand 20);
      rename "$a/$b", "$b-moved" and symlink $outside, "$a/$b";
      rename "$b-moved", "$b/back-$a";
      mkdir $a; mkdir "$a/$b";
    }`;
  const swapper = spawn('perl', ['-e', script, tree, outside], { stdio: ['ignore', 'pipe', 'ignore'] });
  await once(swapper.stdout, 'data');
  for (let turn = 0; turn < 3; turn++) {
    measureTree(tree);
    try {
      removeTree(tree);
    } catch (error) {
      expect(error).toBeInstanceOf(TreeError);
    }
  }
  swapper.kill('SIGKILL');
  await once(swapper, 'close');
  removeTree(tree);
  expect(existsSync(tree)).toBe(false);
});

test('a tree that cannot be removed is an error of one short line', () => {
  expect(() => removeTree('/proc/self/task')).toThrow(TreeError);
  mkdirSync(tree);
  const name = `${'\n\u001b[2J'.repeat(5)}${'n'.repeat(200)}`;
  mkdirSync(join(tree, name));
  try {
    removeTree(`/proc/self/${name}/x`);
    removeTree('/proc/self');
  } catch (error) {
    expect(String(error)).toMatch(/^TreeError: [\x20-\x7e]{1,120}$/);
  }
  rmSync(tree, { recursive: true });
});
