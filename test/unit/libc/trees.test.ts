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
import { openFiles } from '../../fixtures/open-files.js';

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

function du(path: string): number {
  return Number.parseInt(execFileSync('du', ['-s', '--block-size=1', path], { encoding: 'latin1' }), 10);
}

function inodes(path: string): number {
  return Number.parseInt(execFileSync('du', ['-s', '--inodes', path], { encoding: 'latin1' }), 10);
}

function perl(script: string, ...words: string[]): void {
  execFileSync('perl', ['-e', script, ...words]);
}

test('a random tree has the size that du tells, and is gone afterwards', async () => {
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
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 40 }), async (entries) => {
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
      expect(await measureTree(tree)).toEqual({ bytes: du(tree), inodes: inodes(tree), unread: 0 });
      for (const path of closed) chmodSync(path, 0);
      await removeTree(tree);
      expect(existsSync(tree)).toBe(false);
      expect(openFiles(folder)).toEqual([]);
    }),
    { numRuns: 60 },
  );
});

test('a tree that is deeper than a path can say', async () => {
  mkdirSync(tree);
  perl(
    'chdir shift; for (1..1500) { mkdir "d" x 200; chdir "d" x 200 or die $! } open F, ">file"; print F "x" x 9000',
    tree,
  );
  const { bytes, unread } = await measureTree(tree);
  expect(unread).toBe(0);
  expect(bytes).toBeGreaterThanOrEqual(9000);
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  expect(openFiles(folder)).toEqual([]);
});

test('a tree with many names in each of its deep folders', async () => {
  mkdirSync(tree);
  perl('chdir shift; for (1..60) { for (1..30) { open F, ">$_" } mkdir "a"; mkdir "b"; chdir "a" }', tree);
  expect(await measureTree(tree)).toEqual({ bytes: du(tree), inodes: inodes(tree), unread: 0 });
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
});

test('folders that their owner may not read are removed', async () => {
  mkdirSync(join(tree, 'a/b/c'), { recursive: true });
  writeFileSync(join(tree, 'a/b/file'), '');
  for (const path of ['a/b/c', 'a/b', 'a', '']) chmodSync(join(tree, path), 0);
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
});

test('a file, a link and nothing', async () => {
  writeFileSync(tree, 'x');
  expect((await measureTree(tree)).bytes).toBe(statSync(tree).blocks * 512);
  await removeTree(tree);
  symlinkSync(outside, tree);
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  expect(await measureTree(tree)).toEqual({ bytes: 0, inodes: 0, unread: 0 });
  await removeTree(tree);
  await removeTree(join(folder, 'absent/tree'));
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
    await measureTree(tree);
    try {
      await removeTree(tree);
    } catch (error) {
      expect(error).toBeInstanceOf(TreeError);
    }
  }
  swapper.kill('SIGKILL');
  await once(swapper, 'close');
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
});

test('a tree that cannot be removed is an error of one short line', async () => {
  await expect(removeTree('/proc/self/task')).rejects.toThrow(TreeError);
  mkdirSync(tree);
  const name = `${'\n\u001b[2J'.repeat(5)}${'n'.repeat(200)}`;
  mkdirSync(join(tree, name));
  try {
    await removeTree(`/proc/self/${name}/x`);
    await removeTree('/proc/self');
  } catch (error) {
    expect(String(error)).toMatch(/^TreeError: [\x20-\x7e]{1,120}$/);
  }
  rmSync(tree, { recursive: true });
});

test.each([
  ['in one folder', 'chdir shift; for (1..30000) { open F, ">$_" }'],
  ['in many folders', 'chdir shift; for $a (1..300) { mkdir $a; for (1..100) { open F, ">$a/$_" } }'],
])('a large tree, %s, does not stop its process', async (_, script) => {
  mkdirSync(tree);
  perl(script, tree);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const { unread } = await measureTree(tree);
  const measured = turns;
  await removeTree(tree);
  clearInterval(timer);
  expect({ unread, exists: existsSync(tree) }).toEqual({ unread: 0, exists: false });
  expect(measured).toBeGreaterThan(0);
  expect(turns - measured).toBeGreaterThan(0);
});

test('two walks at once each have their own tree', async () => {
  const trees = ['one', 'two', 'three'].map((name) => join(folder, name));
  for (const [index, path] of trees.entries()) {
    mkdirSync(path);
    perl(`chdir shift; for (1..${4000 + index * 1000}) { open F, ">$_"; print F "x" if $_ % 2 }`, path);
  }
  const [one, two, three] = trees as [string, string, string];
  const sizes = [one, three].map((path) => ({ bytes: du(path), inodes: inodes(path), unread: 0 }));
  const [, ...measured] = await Promise.all([removeTree(two), measureTree(one), measureTree(three)]);
  expect(measured).toEqual(sizes);
  expect(existsSync(two)).toBe(false);
});
