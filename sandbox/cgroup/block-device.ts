// The disk of the host below a file, which the limits of a cgroup are for.
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** `MAJOR:MINOR` */
export type BlockDevice = string;

/**
 * The whole disk that has the file at `path`: the kernel limits no single partition. Undefined for a
 * file system that has none of its own, such as btrfs, overlay, tmpfs, 9p and NFS.
 * @param sys the mount of sysfs
 */
export function blockDeviceOf(path: string, sys = '/sys'): BlockDevice | undefined {
  try {
    return wholeDisk(statSync(path).dev, sys);
  } catch {
    return undefined;
  }
}

/** @param dev `st_dev`, encoded as by makedev(3) */
export function wholeDisk(dev: number, sys = '/sys'): BlockDevice | undefined {
  const number = BigInt(dev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn);
  const minor = (number & 0xffn) | ((number >> 12n) & ~0xffn);
  if (major === 0n) return undefined;
  try {
    const folder = realpathSync(join(sys, 'dev/block', `${major}:${minor}`));
    const disk = isPartition(folder) ? dirname(folder) : folder;
    return readFileSync(join(disk, 'dev'), 'utf8').trim();
  } catch {
    // Without sysfs nothing tells a partition from a disk.
    return undefined;
  }
}

function isPartition(folder: string): boolean {
  return statSync(join(folder, 'partition'), { throwIfNoEntry: false }) !== undefined;
}
