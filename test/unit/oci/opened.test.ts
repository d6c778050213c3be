// What a machine serves is opened for each try to boot it: one that fails closes what it was given,
// and its numbers may be those of another container's files.
import {
  constants,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { O_PATH } from '../../../libc/openat2.js';
import { closeAll, openAgain, openAll } from '../../../oci/keeper/opened.js';

const FLAGS = O_PATH | constants.O_NOFOLLOW;

function folderOfEach(): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-opened-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const paths = ['folder', 'file', 'link'].map((name) => join(folder, name));
  const [directory = '', file = '', link = ''] = paths;
  mkdirSync(directory);
  writeFileSync(file, '');
  symlinkSync('file', link);
  return paths;
}

const identities = (opened: readonly number[]) => opened.map((fd) => fstatSync(fd).ino);
/** Those that are open. */
function openOnes(paths: readonly string[]): string[] {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // That of the list itself is closed.
      return '';
    }
  });
  return paths.filter((path) => targets.includes(path));
}

test('folders, files and links are the same ones when they are opened again, and stay when those are closed', () => {
  const opened = openAll(folderOfEach(), FLAGS);
  const inodes = identities(opened);
  for (const _ of ['first', 'second']) {
    const again = openAgain(opened);
    expect(identities(again)).toEqual(inodes);
    expect(again.filter((fd) => opened.includes(fd))).toEqual([]);
    closeAll(again);
  }
  expect(identities(opened)).toEqual(inodes);
  closeAll(opened);
});

test('what was opened is closed if one of them is not there', () => {
  const paths = folderOfEach();
  expect(() => openAll([...paths, '/nowhere'], FLAGS)).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  expect(openOnes(paths)).toEqual([]);
});
