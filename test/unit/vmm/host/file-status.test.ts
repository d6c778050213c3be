// What the machine process asks of an open file by fstat(2) is what Node.js says of it.
import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import * as libc from '../../../../vmm/host/libc.js';

test('the number, the size and the blocks of a file with holes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-status-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const fd = openSync(join(folder, 'file'), 'w');
  onTestFinished(() => closeSync(fd));
  writeSync(fd, Buffer.alloc(100_000, 1));
  ftruncateSync(fd, 2 ** 40 + 5);
  const { ino, size, blocks } = fstatSync(fd, { bigint: true });
  expect(libc.fileStatus(fd)).toEqual({ inode: ino, size: Number(size), occupied: Number(blocks) * 512 });
  expect(Number(size)).toBe(2 ** 40 + 5);
});

test('a descriptor that is not open is an error', () => {
  expect(() => libc.fileStatus(-1)).toThrow('fstat: EBADF');
});
