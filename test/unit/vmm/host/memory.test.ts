// Guest memory, shared with its file or private: what writes and discards do to both.
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
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

test('shared memory asks for huge pages, and private memory does not', () => {
  // VmFlags of proc_pid_smaps(5): `hg` for MADV_HUGEPAGE. A kernel without huge pages refuses.
  const hasHugePages = existsSync('/sys/kernel/mm/transparent_hugepage');
  for (const sharing of ['shared', 'private'] as const) {
    using memory = AllocatedMemory.over(filledFile(), SIZE, sharing);
    const maps = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
    const mapping = maps.find((each) => each.startsWith(`${memory.mapping.toString(16)}-`)) ?? '';
    const flags = /^VmFlags: (.*)$/m.exec(mapping)?.[1]?.trim().split(' ');
    expect(flags).toContain('rd');
    expect(flags?.includes('hg')).toBe(hasHugePages && sharing === 'shared');
  }
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

// A file on tmpfs, as any in memory, gets a page for a hole that is read through a mapping.
test('holes of the file of private memory that is in memory stay holes, whatever is done to the memory', () => {
  const size = 64 * PAGE_SIZE;
  const fd = createMemory(size);
  expect(libc.write(fd, Buffer.alloc(PAGE_SIZE, 1), PAGE_SIZE)).toBe(PAGE_SIZE);
  expect(writeSync(fd, Buffer.alloc(PAGE_SIZE, 2), 0, PAGE_SIZE, size / 2)).toBe(PAGE_SIZE);
  using memory = AllocatedMemory.over(fd, size, 'private');
  const sum = () => Array.from(memory.bytes(0, size)).reduce((sum, byte) => sum + byte, 0);
  expect(sum()).toBe(3 * PAGE_SIZE);
  memory.bytes(0, size).fill(9);
  expect(sum()).toBe(9 * size);
  memory.discard(0, size);
  expect(sum()).toBe(3 * PAGE_SIZE);
  expect(libc.fileStatus(fd).occupied).toBe(2 * PAGE_SIZE);
});

describe('a copy of memory', () => {
  const LARGE = 4 * 2 ** 20;
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-memory-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Copies to a file, and returns its descriptor. */
  function copied(memory: AllocatedMemory): number {
    const fd = openSync(join(folder, 'copy'), 'w+');
    ftruncateSync(fd, LARGE);
    memory.copyTo(fd);
    return fd;
  }

  function write(memory: AllocatedMemory, values: [address: number, value: number][]): void {
    for (const [address, value] of values) memory.bytes(address, 1)[0] = value;
  }

  /** Returns the offsets and values of all bytes other than zero. */
  function contents(fd: number): [number, number][] {
    const bytes = Buffer.alloc(LARGE);
    readSync(fd, bytes, 0, LARGE, 0);
    const found: [number, number][] = [];
    for (let at = 0; at < LARGE; at++) if (bytes[at] !== 0) found.push([at, bytes[at]!]);
    return found;
  }

  test('has the bytes of shared memory, leaves untouched pages untouched, and takes their room only', () => {
    using memory = AllocatedMemory.allocate(LARGE);
    // A host that gives huge pages on advice would make the whole memory two.
    libc.madvise(memory.mapping, LARGE, libc.MADV_NOHUGEPAGE);
    const values: [number, number][] = [
      [0, 1],
      [2 ** 20 + 17, 2],
      [LARGE - 1, 3],
    ];
    write(memory, values);
    const fd = copied(memory);
    expect(memory.resident).toBe(3 * PAGE_SIZE);
    expect(fstatSync(fd).blocks * 512).toBeLessThanOrEqual(3 * 64 * 1024);
    expect(contents(fd)).toEqual(values);
    closeSync(fd);
  });

  test('has the bytes of private memory: those of its file, and those that were written since', () => {
    const file = createMemory(LARGE);
    const whole = libc.check(libc.fcntl(file, libc.F_DUPFD_CLOEXEC, 0), 'fcntl');
    {
      using memory = AllocatedMemory.over(whole, LARGE);
      write(memory, [
        [PAGE_SIZE, 1],
        [2 ** 20, 2],
      ]);
    }
    using memory = AllocatedMemory.over(file, LARGE, 'private');
    write(memory, [
      [2 ** 20, 0],
      [2 ** 21, 3],
    ]);
    const fd = copied(memory);
    expect(fstatSync(fd).blocks * 512).toBeLessThanOrEqual(2 * 64 * 1024);
    expect(contents(fd)).toEqual([
      [PAGE_SIZE, 1],
      [2 ** 21, 3],
    ]);
    closeSync(fd);
  });

  test('fails if there is no room for it', () => {
    using memory = AllocatedMemory.allocate(LARGE);
    write(memory, [[0, 1]]);
    const full = openSync('/dev/full', 'w');
    expect(() => memory.copyTo(full)).toThrow('ENOSPC');
    closeSync(full);
  });
});
