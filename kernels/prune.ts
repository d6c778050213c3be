// Removes kernels from the cache that no run boots any more.
import { existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { hasCode, messageOf } from '../errors/index.js';
import { kernelCache, listKernels } from './cache.js';
import { KernelError } from './errors.js';
import { listPulled } from './pulled.js';
import { makeWorkFolder } from './work-folder.js';

export interface PruneOptions {
  /** If true, also kernels that only another version of tsvm boots, and those that were prepared from a path. */
  all?: boolean;
  /** The cache's folder. Default: the user's own. */
  cache?: string;
}

export interface PrunedKernels {
  /** Folders that were removed. */
  directories: string[];
  /** Bytes. */
  reclaimed: number;
}

/** Removes kernels. See `pruneKernels` of index.ts. */
export function prune({ all = false, cache = kernelCache() }: PruneOptions = {}): PrunedKernels {
  if (!existsSync(cache)) return { directories: [], reclaimed: 0 };
  const work = makeWorkFolder(cache);
  const pruned: PrunedKernels = { directories: [], reclaimed: 0 };
  try {
    for (const directory of [...supersededIn(cache, all), ...(all ? preparedIn(cache) : [])]) {
      const place = join(work, basename(directory));
      if (!moveAway(directory, place)) continue;
      pruned.directories.push(directory);
      pruned.reclaimed += sizeOf(place);
    }
    return pruned;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Of the kernels with one name and hash, a run boots the newest. They are listed newest first. */
function supersededIn(cache: string, all: boolean): string[] {
  const newest = new Set<string>();
  return [...listKernels(cache), ...listPulled(cache)].flatMap(({ name, hash, current, directory }) => {
    const isNewest = !newest.has(`${name} ${hash}`);
    newest.add(`${name} ${hash}`);
    return isNewest && (current || !all) ? [] : [directory];
  });
}

function preparedIn(cache: string): string[] {
  const entries = readdirSync(cache).filter((entry) => /^prepared-[0-9a-f]{16}$/.test(entry));
  return entries.map((entry) => join(cache, entry));
}

/** A kernel is gone as a whole: a start does not find a part of it. Returns false if another process removed it. */
function moveAway(directory: string, place: string): boolean {
  try {
    renameSync(directory, place);
    return true;
  } catch (cause) {
    if (hasCode(cause, 'ENOENT')) return false;
    throw new KernelError(`cannot remove the kernel in ${directory}: ${messageOf(cause)}`, { cause });
  }
}

function sizeOf(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}
