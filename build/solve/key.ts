// Keys of the cache: hashes of all that a step depends on.
import { createHash, type Hash } from 'node:crypto';
import type { Inode } from '../../images/build.js';
import type { ContextFiles } from '../context/context-files.js';
import type { IgnoreRules, RuleState } from '../context/ignore.js';
import type { Match } from './copy.js';

/** Changes when a step of the same inputs would give another result. */
const VERSION = 3;

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
export async function contentHash(
  matches: readonly Match[],
  excludes: IgnoreRules,
  context: ContextFiles,
): Promise<string> {
  const hash = createHash('sha256');
  const files = new Map<Inode, string>();
  const add = async (inode: Inode, path: string, inMatch: string, above: RuleState): Promise<void> => {
    const { kind, mode, size, target, names } = inode;
    hash.update(JSON.stringify([path, kind, mode, size, target]));
    if (names > 1) hash.update(JSON.stringify(context.pathOf(inode)));
    if (kind === 'file') hash.update(await fileHash(inode, context, files));
    for (const [name, child] of [...inode.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const below = inMatch === '' ? name : `${inMatch}/${name}`;
      const { isIgnored, state } = excludes.check(below, above);
      if (isIgnored && !(child.inode.kind === 'directory' && excludes.hasExceptions)) continue;
      await add(child.inode, `${path}/${name}`, below, state);
    }
  };
  for (const { path, inode, kept } of matches) {
    const isFile = inode.kind !== 'directory';
    await add(inode, JSON.stringify([kept, isFile ? path.slice(path.lastIndexOf('/') + 1) : '']), '', excludes.root);
  }
  return hash.digest('hex');
}

async function fileHash(inode: Inode, context: ContextFiles, known: Map<Inode, string>): Promise<string> {
  let found = known.get(inode);
  if (found === undefined) {
    const hash: Hash = createHash('sha256');
    const bytes = context.read(inode);
    if (Symbol.iterator in bytes) for (const chunk of bytes) hash.update(chunk);
    else for await (const chunk of bytes) hash.update(chunk);
    found = hash.digest('hex');
    known.set(inode, found);
  }
  return found;
}
