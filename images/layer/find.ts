// Resolves a path in an image as a process with the image as its root directory would
// (path_resolution(7)).

import type { Inode } from './merge.js';

/** As the kernel's MAXSYMLINKS. */
const MAX_SYMLINKS = 40;

/**
 * Finds the inode at a path. Symbolic links are followed inside the root.
 *
 * @param path one byte for each character (latin1)
 * @returns null if there is no such file
 */
export function findInode(root: Inode, path: string): Inode | null {
  const pending = path.split('/').reverse();
  const trail = [root];
  let at = root;
  for (let links = 0; pending.length > 0; ) {
    const name = pending.pop()!;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      if (trail.length > 1) trail.pop();
      at = trail.at(-1) ?? root;
      continue;
    }
    const inode = at.children.get(name)?.inode;
    if (inode === undefined) return null;
    if (inode.kind !== 'symlink') {
      trail.push(inode);
      at = inode;
      continue;
    }
    if (++links > MAX_SYMLINKS) return null;
    if (inode.target.startsWith('/')) {
      trail.length = 1;
      at = root;
    }
    for (const part of inode.target.split('/').reverse()) pending.push(part);
  }
  return at;
}
