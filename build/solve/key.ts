// Keys of the cache: hashes of all that a step depends on.
import { createHash, type Hash } from 'node:crypto';
import type { Inode } from '../../images/build.js';
import type { ContextTree } from '../context/context-tree.js';
import type { IgnoreRules, RuleState } from '../context/ignore.js';
import type { Match } from './copy.js';

/** Changes when a step of the same inputs would give another result. */
const VERSION = 1;

/** @param inputs plain data */
export function stepKey(kind: string, ...inputs: unknown[]): string {
  return createHash('sha256')
    .update(JSON.stringify([VERSION, kind, ...inputs]))
    .digest('hex');
}

/**
 * A hash of the files of a context that are copied: their names, metadata except for times and
 * owners, and contents.
 */
export function contentHash(matches: readonly Match[], excludes: IgnoreRules, context: ContextTree): string {
  const hash = createHash('sha256');
  const files = new Map<Inode, string>();
  const add = (inode: Inode, path: string, inMatch: string, above: RuleState) => {
    const { kind, mode, size, target, names } = inode;
    hash.update(JSON.stringify([path, kind, mode, size, target]));
    if (names > 1) hash.update(JSON.stringify(context.pathOf(inode)));
    if (kind === 'file') hash.update(fileHash(inode, context, files));
    for (const [name, child] of [...inode.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const below = inMatch === '' ? name : `${inMatch}/${name}`;
      const { isIgnored, state } = excludes.check(below, above);
      if (isIgnored && !(child.inode.kind === 'directory' && excludes.hasExceptions)) continue;
      add(child.inode, `${path}/${name}`, below, state);
    }
  };
  for (const { path, inode, kept } of matches) {
    const isFile = inode.kind !== 'directory';
    add(inode, JSON.stringify([kept, isFile ? path.slice(path.lastIndexOf('/') + 1) : '']), '', excludes.root);
  }
  return hash.digest('hex');
}

function fileHash(inode: Inode, context: ContextTree, known: Map<Inode, string>): string {
  let found = known.get(inode);
  if (found === undefined) {
    const hash: Hash = createHash('sha256');
    for (const chunk of context.read(inode)) hash.update(chunk);
    found = hash.digest('hex');
    known.set(inode, found);
  }
  return found;
}
