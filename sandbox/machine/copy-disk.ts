// Copies the disk of a writable layer: a sparse file of gigabytes, of which little is used.
import { constants, rmSync } from 'node:fs';
import { copyFile, open, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { fileError } from '../errors.js';
import { eachBlock } from './sparse-file.js';

const MODE = 0o600;

/**
 * Copies a disk to a new file. File systems that can (XFS, Btrfs) share the blocks of both, which
 * takes no time and no room; on others, what is not a hole is copied, if there is room for it: a copy
 * that fills the host's disk would make writes of running guests fail.
 * @param disk path of it, or a descriptor
 * @throws SandboxError `no-space`, `state`: there is no copy then
 */
export async function copyDisk(disk: string | number, to: string): Promise<void> {
  const from = typeof disk === 'number' ? `/proc/self/fd/${disk}` : disk;
  try {
    if (!(await shareBlocks(from, to))) await copySparse(from, to);
  } catch (cause) {
    rmSync(to, { force: true });
    throw fileError(`cannot copy ${typeof disk === 'number' ? `a disk to ${to}` : disk}`, cause);
  }
}

/** Waits until all of a file is on the host's disk. @throws Error of the file system */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Returns false if the file system cannot. */
async function shareBlocks(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    if (!hasCode(error, 'ENOTSUP', 'EOPNOTSUPP', 'ENOTTY', 'ENOSYS', 'EXDEV', 'EINVAL')) throw error;
    return false;
  }
}

async function copySparse(from: string, to: string): Promise<void> {
  await requireRoom(from, to);
  const copy = await open(to, 'wx', MODE);
  try {
    await copy.truncate((await stat(from)).size);
    await eachBlock(from, async (block, offset) => {
      // A write may be short.
      for (let at = 0; at < block.length; ) {
        at += (await copy.write(block, at, block.length - at, offset + at)).bytesWritten;
      }
    });
  } finally {
    await copy.close();
  }
}

/** @throws Error ENOSPC if the file system of `to` has no room for what is not a hole in `from` */
async function requireRoom(from: string, to: string): Promise<void> {
  const needed = (await stat(from)).blocks * 512;
  const { bavail, bsize, blocks } = await statfs(dirname(to));
  // A file system without a size, such as a tmpfs with `size=0`, has no blocks.
  if (blocks === 0 || needed <= bavail * bsize) return;
  throw Object.assign(new Error(`ENOSPC: no space left on device, ${needed} bytes needed`), { code: 'ENOSPC' });
}
