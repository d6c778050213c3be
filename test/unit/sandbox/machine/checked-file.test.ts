// A file that was checked is read again only if its inode, size or times are others, and then its
// contents decide.
import {
  chmodSync,
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type CheckedFile, changeOf, checkFile } from '../../../../sandbox/machine/checked-file.js';
import { fileChecksum } from '../../../../sandbox/machine/file-checksum.js';

const checksum = vi.fn(fileChecksum);
let folder: string;
let path: string;
let written: CheckedFile;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-checked-'));
  path = join(folder, 'file');
  writeFileSync(path, 'contents');
  written = await checkFile(path, fileChecksum);
  // A file system counts times in steps. What changes within a step has the times that it had.
  const timeOf = (file: string) => statSync(file, { bigint: true }).ctimeNs;
  const later = join(folder, 'later');
  do {
    await sleep(1);
    writeFileSync(later, 'later');
  } while (timeOf(later) <= timeOf(path));
  checksum.mockClear();
});
afterEach(() => rmSync(folder, { recursive: true }));

async function change(file = path): Promise<number | undefined> {
  const fd = openSync(file, 'r');
  try {
    return (await changeOf(fd, written, checksum))?.crc32;
  } finally {
    closeSync(fd);
  }
}

test('a file that was not touched is not read', async () => {
  expect(await change()).toBeUndefined();
  expect(checksum).not.toHaveBeenCalled();
});

test.each([
  ['a copy', () => cpSync(path, `${path}2`), '2'],
  ['one with another mode', () => chmodSync(path, 0o400), ''],
  ['one that was written anew', () => writeFileSync(path, 'contents'), ''],
])('%s is read, and is the same', async (_, touch, end) => {
  touch();
  expect(await change(path + end)).toBeUndefined();
  expect(checksum).toHaveBeenCalledOnce();
});

test('a change is found although the time of the last one is put back', async () => {
  const { atime, mtime } = statSync(path);
  writeFileSync(path, 'Contents');
  utimesSync(path, atime, mtime);
  expect(await change()).not.toBe(written.crc32);
  expect(await change()).toBeTypeOf('number');
});
