// Resolves a path in an image as a process with the image as its root directory would
// (path_resolution(7)).

import type { Inode } from './merge.js';

/** As the kernel's MAXSYMLINKS. */
const MAX_SYMLINKS = 40;

/** Where a path leads. */
export interface Found {
  /** Its names from the root on, none of which is a symbolic link. Those that do not exist come last. */
  names: string[];
  /** Null if nothing is there. */
  inode: Inode | null;
}

/**
 * Finds the inode at a path. Symbolic links are followed inside the root.
 *
 * @param path one byte for each character (latin1)
 * @returns null if there is no such file
 */
export function findInode(root: Inode, path: string): Inode | null {
  return resolvePath(root, path)?.inode ?? null;
}

/**
 * Resolves a path as a process that creates what is missing would. Symbolic links are followed
 * inside the root.
 *
 * @param path one byte for each character (latin1)
 * @param followLast if false, a symbolic link at the end of the path is not followed
 * @returns null for too many symbolic links
 */
export function resolvePath(root: Inode, path: string, followLast = true): Found | null {
  const pending = path.split('/').reverse();
  const names: string[] = [];
  const trail: (Inode | null)[] = [root];
  for (let links = 0; pending.length > 0; ) {
    const name = pending.pop()!;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      names.pop();
      if (trail.length > 1) trail.pop();
      continue;
    }
    const inode = trail.at(-1)?.children.get(name)?.inode ?? null;
    if (inode?.kind !== 'symlink' || (!followLast && pending.every((rest) => rest === '' || rest === '.'))) {
      names.push(name);
      trail.push(inode);
      continue;
    }
    if (++links > MAX_SYMLINKS) return null;
    if (inode.target.startsWith('/')) {
      names.length = 0;
      trail.length = 1;
    }
    for (const part of inode.target.split('/').reverse()) pending.push(part);
  }
  return { names, inode: trail.at(-1) ?? null };
}
