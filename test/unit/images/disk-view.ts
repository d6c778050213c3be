// Checks an image's disk with other programs: erofs-utils checks it, the kernel mounts it,
// dump-tree prints its contents.

import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import koffi from 'koffi';
import type { Extent } from '../../../images/index.js';
import { dumpTree } from '../../fixtures/layered-image.js';

const lseek = koffi.load('libc.so.6').func('int64_t lseek(int fd, int64_t offset, int whence)');
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/**
 * Writes the extents end to end into one file, as the guest's disk is, and checks it with
 * fsck.erofs.
 */
export function checkedDisk(disk: Extent[], file: string): string {
  const to = openSync(file, 'w');
  let at = 0;
  for (const { path, offset, length } of disk) {
    if (offset !== 0 || length % 4096 !== 0) throw new Error(`an extent at ${offset} of ${length} bytes`);
    copyData(path, to, at);
    at += length;
  }
  ftruncateSync(to, at);
  closeSync(to);
  execFileSync('fsck.erofs', [file], { stdio: ['ignore', 'pipe', 'pipe'] });
  return file;
}

/**
 * Copies a file to `at` of another, without its holes: some disks here are larger than the
 * machine's disk.
 */
function copyData(path: string, to: number, at: number): void {
  const from = openSync(path, 'r');
  const buffer = Buffer.alloc(1 << 20);
  for (let start = Number(lseek(from, 0, SEEK_DATA)); start >= 0; start = Number(lseek(from, start, SEEK_DATA))) {
    const end = Number(lseek(from, start, SEEK_HOLE));
    while (start < end) {
      const length = readSync(from, buffer, 0, Math.min(buffer.length, end - start), start);
      writeSync(to, buffer, 0, length, at + start);
      start += length;
    }
  }
  closeSync(from);
}

/** Mounts a disk and returns the result of `look`, which gets the mount point. */
export function mounted<T>(file: string, work: string, look: (directory: string) => T): T {
  if (!readFileSync('/proc/filesystems', 'utf8').includes('\terofs\n')) execFileSync('modprobe', ['erofs']);
  const directory = join(work, 'mount');
  mkdirSync(directory, { recursive: true });
  execFileSync('mount', ['-t', 'erofs', '-o', 'loop,ro', file, directory]);
  try {
    return look(directory);
  } finally {
    execFileSync('umount', [directory]);
  }
}

/** The lines that dump-tree prints for a disk. */
export function dumpDisk(disk: Extent[], work: string, program: string): string[] {
  const file = checkedDisk(disk, join(work, 'disk.erofs'));
  try {
    return mounted(file, work, (directory) => dumpTree(program, directory));
  } finally {
    rmSync(file);
  }
}
