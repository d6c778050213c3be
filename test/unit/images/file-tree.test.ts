// Proves that no name and no link of an image in a folder leads out of the folder.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { directoryTree, type FileTree, readSmall } from '../../../images/source/file-tree.js';
import { openFiles } from '../../fixtures/open-files.js';

let folder: string;
let tree: FileTree;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  mkdirSync(join(folder, 'image/blobs'), { recursive: true });
  writeFileSync(join(folder, 'secret'), 'secret');
  writeFileSync(join(folder, 'image/blobs/file'), 'content');
  tree = directoryTree(join(folder, 'image'));
});

afterEach(() => rmSync(folder, { recursive: true }));

async function read(name: string): Promise<string | undefined> {
  const file = tree.find(name);
  return file === null ? undefined : (await readSmall(file, 100, name)).toString();
}

test('files and links within the folder are read, again and again', async () => {
  symlinkSync('../blobs/file', join(folder, 'image/blobs/link'));
  for (const name of ['blobs/file', 'blobs/link', 'blobs/../blobs/./file', 'blobs/file']) {
    expect(await read(name)).toBe('content');
  }
  expect(openFiles(folder)).toEqual([]);
});

test('what is no file is not there', async () => {
  execFileSync('mkfifo', [join(folder, 'image/fifo')]);
  symlinkSync('loop', join(folder, 'image/loop'));
  for (const name of ['absent', 'blobs', 'blobs/file/x', 'fifo', 'loop', '']) expect(await read(name)).toBeUndefined();
});

test.each(['../secret', 'blobs/../../secret', '/etc/hostname', 'out', 'up/secret', '/proc/self/exe'])(
  '%s leads out and is refused, whether there is a file or not',
  (name) => {
    symlinkSync('../secret', join(folder, 'image/out'));
    symlinkSync('..', join(folder, 'image/up'));
    const message = `cannot read ${name} of ${join(folder, 'image')}: it leads out of the folder`;
    expect(() => tree.find(name)).toThrow(message);
    rmSync(join(folder, 'secret'));
    expect(() => tree.find(name)).toThrow(message);
  },
);

test('a file that is replaced by a link before it is read is refused', async () => {
  const file = tree.find('blobs/file');
  renameSync(join(folder, 'image/blobs/file'), join(folder, 'image/blobs/old'));
  symlinkSync('../../secret', join(folder, 'image/blobs/file'));
  await expect(readSmall(file!, 100, 'it')).rejects.toThrow('it leads out of the folder');
});
