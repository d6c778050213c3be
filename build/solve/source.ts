// Where COPY, ADD and bind mounts take files from: a context, or the layers of a stage or an image.
import type { BuildStore, Inode, LayerTree } from '../../images/build.js';
import type { ContextFiles } from '../context/context-files.js';
import type { IgnoreRules } from '../context/ignore.js';
import { findSources } from './copy.js';
import { contentHash } from './key.js';

export interface CopySource {
  root: Inode;
  read(inode: Inode): AsyncIterable<Buffer> | Iterable<Buffer>;
  /** Of what the words stand for, for the cache. */
  hash(sources: readonly string[], keepsParents: boolean, excludes: IgnoreRules): Promise<string>;
}

export function contextSource(context: ContextFiles): CopySource {
  return {
    root: context.root,
    read: (inode) => context.read(inode),
    hash: async (sources, keepsParents, excludes) =>
      await contentHash(findSources(context.root, sources, keepsParents), excludes, context),
  };
}

export function layersSource(layers: readonly string[], store: BuildStore): CopySource {
  let tree: LayerTree | undefined;
  const open = () => {
    tree ??= store.tree(layers);
    return tree;
  };
  return {
    get root() {
      return open().root;
    },
    read: (inode) => open().read(inode),
    hash: async () => JSON.stringify(layers),
  };
}
