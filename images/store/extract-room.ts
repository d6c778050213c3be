// Looks whether a copy of a directory of an image has room, before it begins: a copy that fails
// halfway has filled the disk for everything else meanwhile.
import { closeSync, openSync, statfsSync } from 'node:fs';
import { libcFunction } from '../../libc/index.js';
import { ImageError } from '../errors.js';
import { PAGE_SIZE } from '../layer/data-file.js';
import type { Inode } from '../layer/merge.js';

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

const lseek = libcFunction<[fd: number, offset: number, whence: number]>(
  'int64_t lseek(int fd, int64_t offset, int whence)',
);

/**
 * Names on the way to directories whose contents are not copied. The last one of a way is empty.
 */
export type Cover = Map<string, Cover>;

/** What is copied: a directory of the image without what the cover has. */
interface Copied {
  directory: Inode;
  /** Paths of the layers' data files. */
  data: readonly string[];
  cover: Cover;
}

/** Returns the parts of an open file between two positions that are no holes. */
export function* dataRuns(fd: number, position: number, end: number): Generator<{ start: number; end: number }> {
  for (let start = Number(lseek(fd, position, SEEK_DATA)); start >= position && start < end; ) {
    const hole = Math.min(Number(lseek(fd, start, SEEK_HOLE)), end);
    yield { start, end: hole };
    start = Number(lseek(fd, hole, SEEK_DATA));
  }
}

/**
 * @param path the directory in the image, for the message
 * @param folder of the host, in the file system of the copy
 * @throws ImageError `no-space`
 */
export function checkRoom(copied: Copied, path: string, folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  const [needed, free] = [neededBytes(copied), bavail * bsize];
  if (needed <= free) return;
  const sizes = `${mebibytes(needed)} are needed, ${mebibytes(free)} are free`;
  throw new ImageError('no-space', `cannot copy ${path} out of the image: no space left on device: ${sizes}`);
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function neededBytes({ directory, data, cover }: Copied): number {
  const open = new Map<number, number>();
  const counted = new Set<Inode>();
  let pages = 0;
  const count = (inode: Inode) => {
    if (inode.size === 0 || counted.has(inode)) return;
    if (inode.names > 1) counted.add(inode);
    const fd = open.get(inode.layer) ?? openSync(data[inode.layer]!, 'r');
    open.set(inode.layer, fd);
    const position = inode.page * PAGE_SIZE;
    for (const { start, end } of dataRuns(fd, position, position + inode.size)) {
      pages += Math.ceil((end - start) / PAGE_SIZE);
    }
  };
  // Hostile images have deep trees, so there is no recursion.
  const directories: { inode: Inode; cover: Cover | undefined }[] = [{ inode: directory, cover }];
  try {
    for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
      for (const [name, { inode }] of next.inode.children) {
        const below = next.cover?.get(name);
        if (inode.kind === 'file') count(inode);
        else if (inode.kind === 'directory' && below?.size !== 0) directories.push({ inode, cover: below });
      }
    }
    return pages * PAGE_SIZE;
  } finally {
    for (const fd of open.values()) closeSync(fd);
  }
}
