// The size of a home, if `$TSVM_HOME_SIZE` limits it: images, disks and logs of containers, volumes.
import { statSync } from 'node:fs';
import { homeLimit } from '../../images/index.js';
import { measureTree } from '../../libc/trees.js';
import { SandboxError } from '../errors.js';
import type { Home } from './home.js';

export interface HomeSize {
  /** Bytes on the host's disk. */
  used: number;
  limit: number;
}

/**
 * Measures the home at `path`. Undefined if nothing limits it.
 * @throws ImageError `bad-settings`
 */
export async function homeSize(path: string): Promise<HomeSize | undefined> {
  const limit = homeLimit();
  return limit === undefined ? undefined : { used: (await measureTree(path)).bytes, limit };
}

/**
 * Bytes that the home at `path` has room for. Infinity if nothing limits it.
 * @throws ImageError `bad-settings`, SandboxError `no-space` if it is full
 */
export async function roomInHome(path: string): Promise<number> {
  const size = await homeSize(path);
  if (size === undefined) return Number.POSITIVE_INFINITY;
  const { used, limit } = size;
  if (used < limit) return limit - used;
  const hint = "see 'tsvm df', and remove containers, volumes or images";
  throw new SandboxError('no-space', `the home has ${used} of ${limit} bytes (TSVM_HOME_SIZE): ${hint}`);
}

/**
 * Bytes that the home has room for, if all disks of its containers were full. Infinity if nothing
 * limits it.
 * @throws ImageError `bad-settings`, SandboxError `no-space` if it is full
 */
export async function roomForDisk(home: Home): Promise<number> {
  const room = await roomInHome(home.path);
  if (room === Number.POSITIVE_INFINITY) return room;
  const promised = home.containers.folders().map(({ layer }) => {
    const disk = statSync(layer, { throwIfNoEntry: false });
    return disk === undefined ? 0 : Math.max(disk.size - disk.blocks * 512, 0);
  });
  return Math.max(room - promised.reduce((sum, bytes) => sum + bytes, 0), 0);
}
