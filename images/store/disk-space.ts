// Space on the host's disk, counted in blocks: files have holes, so their lengths say too much.

import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { list } from './names.js';

const BLOCK = 512;

/** Bytes on disk of a file, or of a folder and everything in it. Returns 0 if it does not exist. */
export function bytesOnDisk(path: string): number {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return 0;
  const own = stat.blocks * BLOCK;
  if (!stat.isDirectory()) return own;
  return list(path).reduce((sum, name) => sum + bytesOnDisk(join(path, name)), own);
}
