// The files of a context, wherever they are.
import type { Inode } from '../../images/build.js';

export interface ContextFiles {
  root: Inode;
  /** The path of an inode, from the context's root. */
  pathOf(inode: Inode): string | undefined;
  /** The contents of a regular file. */
  read(inode: Inode): AsyncIterable<Buffer> | Iterable<Buffer>;
}
