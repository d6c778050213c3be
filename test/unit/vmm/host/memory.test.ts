// Guest memory, shared with its file or private: what writes and discards do to both.
import { readSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as libc from '../../../../vmm/host/libc.js';
import { AllocatedMemory, createMemory, PAGE_SIZE } from '../../../../vmm/host/memory.js';

const PAGES = 4;
const SIZE = PAGES * PAGE_SIZE;

/** A file of guest memory whose pages hold 1, 2, 3 and 4. */
function filledFile(): number {
  const fd = createMemory(SIZE);
  const bytes = Buffer.concat(Array.from({ length: PAGES }, (_, page) => Buffer.alloc(PAGE_SIZE, page + 1)));
  expect(libc.write(fd, bytes, SIZE)).toBe(SIZE);
  return fd;
}

/** Returns the first byte of each page. */
const memoryPages = (memory: AllocatedMemory) =>
  Array.from({ length: PAGES }, (_, page) => memory.bytes(page * PAGE_SIZE, 1)[0]);

function filePages(fd: number): (number | undefined)[] {
  const bytes = Buffer.alloc(SIZE);
  readSync(fd, bytes, 0, SIZE, 0);
  return Array.from({ length: PAGES }, (_, page) => bytes[page * PAGE_SIZE]);
}

test('writes to shared memory reach its file, and what is discarded takes no room and is zero', () => {
  using memory = AllocatedMemory.over(filledFile(), SIZE);
  memory.bytes(0, 1)[0] = 9;
  memory.discard(PAGE_SIZE, PAGE_SIZE);
  expect(memory.resident).toBe(3 * PAGE_SIZE);
  expect(memoryPages(memory)).toEqual([9, 0, 3, 4]);
  expect(filePages(memory.fd)).toEqual([9, 0, 3, 4]);
});

test('writes to private memory, and what is discarded there, leave the file and its other mappings as they are', () => {
  const fd = filledFile();
  const other = libc.check(libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0), 'fcntl');
  using memory = AllocatedMemory.over(fd, SIZE, 'private');
  using clone = AllocatedMemory.over(other, SIZE, 'private');
  for (let page = 0; page < PAGES; page++) memory.bytes(page * PAGE_SIZE, 1)[0] = 9;
  memory.discard(PAGE_SIZE, 2 * PAGE_SIZE);
  // The copies are gone. A driver must not expect anything of pages that it reported.
  expect(memoryPages(memory)).toEqual([9, 2, 3, 9]);
  expect(memoryPages(clone)).toEqual([1, 2, 3, 4]);
  expect(filePages(fd)).toEqual([1, 2, 3, 4]);
  expect(memory.resident).toBeUndefined();
});
