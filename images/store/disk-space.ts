// What things take on the host's disk: blocks, not lengths, for files have holes.

import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { list } from './names.js';

const BLOCK = 512;

/** Bytes that a file, or a folder with all that is in it, takes; 0 for what is not there. */
export function bytesOnDisk(path: string): number {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return 0;
  const own = stat.blocks * BLOCK;
  if (!stat.isDirectory()) return own;
  return list(path).reduce((sum, name) => sum + bytesOnDisk(join(path, name)), own);
}
