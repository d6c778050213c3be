// Looks at an image's disk from outside: erofs-utils checks it, the kernel mounts it, dump-tree writes down what is
// there.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Extent } from '../../../images/index.js';
import { dumpTree } from '../../fixtures/layered-image.js';

/** Lays the extents end to end in one file, as the guest's disk is, and lets fsck.erofs check it. */
export function checkedDisk(disk: Extent[], file: string): string {
  rmSync(file, { force: true });
  for (const { path, offset, length } of disk) {
    if (offset !== 0 || length % 4096 !== 0) throw new Error(`an extent at ${offset} of ${length} bytes`);
    // Keeps holes: some disks here are larger than the machine's.
    execFileSync(
      'dd',
      [`if=${path}`, `of=${file}`, 'bs=1M', 'oflag=append', 'conv=notrunc', 'status=none'].filter(Boolean),
    );
  }
  execFileSync('fsck.erofs', [file], { stdio: ['ignore', 'pipe', 'pipe'] });
  return file;
}

/** Mounts a disk and gives what `look` sees in it. */
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

/** What dump-tree prints of a disk. */
export function dumpDisk(disk: Extent[], work: string, program: string): string[] {
  const file = checkedDisk(disk, join(work, 'disk.erofs'));
  try {
    return mounted(file, work, (directory) => dumpTree(program, directory));
  } finally {
    rmSync(file);
  }
}
