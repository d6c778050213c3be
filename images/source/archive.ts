// Indexes the files of a tar archive without reading their contents. An image's archive holds a few
// large blobs, which are read in place later.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { posix } from 'node:path';
import { ImageError } from '../errors.js';
import { MAX_ARCHIVE_ENTRIES, MAX_PATH_BYTES } from '../limits.js';
import { BLOCK_SIZE, badTar } from '../tar/header.js';
import { TarReader } from '../tar/reader.js';

/**
 * Longest chain of links. Old versions of `docker save` wrote links for layers that images share.
 */
const MAX_LINKS = 8;

/** Where a file's contents are in the archive, in bytes. */
export interface ArchivePlace {
  offset: number;
  size: number;
}

export interface ArchiveIndex {
  /** The archive's path on the host. */
  path: string;
  /** Finds a file by name and follows links. Returns null if there is none. */
  find(name: string): ArchivePlace | null;
}

/**
 * Reads the headers of an uncompressed archive.
 *
 * @throws ImageError `not-an-image`, `corrupt`, `too-large`
 */
export function indexArchive(path: string): ArchiveIndex {
  const files = new Map<string, ArchivePlace>();
  const links = new Map<string, string>();
  let at = 0;
  const reader = new TarReader({
    entry(entry) {
      if (files.size + links.size >= MAX_ARCHIVE_ENTRIES) {
        throw new ImageError('too-large', `the archive has more than ${MAX_ARCHIVE_ENTRIES} entries`);
      }
      for (const { length } of [entry.path, entry.linkname]) {
        if (length <= MAX_PATH_BYTES) continue;
        throw new ImageError('too-large', `the archive has a name of ${length} bytes; the limit is ${MAX_PATH_BYTES}`);
      }
      const name = posix.join('/', entry.path);
      files.delete(name);
      links.delete(name);
      if (entry.type === 'file') files.set(name, { offset: at + BLOCK_SIZE, size: entry.size });
      else if (entry.type === 'link') links.set(name, posix.join('/', entry.linkname));
      else if (entry.type === 'symlink') links.set(name, posix.join('/', posix.dirname(name), entry.linkname));
    },
    data() {},
  });
  const file = openSync(path, 'r');
  try {
    const block = Buffer.alloc(BLOCK_SIZE);
    for (;;) {
      const length = readSync(file, block, 0, BLOCK_SIZE, at);
      if (length === 0) break;
      reader.write(block.subarray(0, length));
      at += length + reader.skipFile();
    }
    reader.end();
    if (at > fstatSync(file).size) throw badTar('it ends in the middle of an entry');
  } finally {
    closeSync(file);
  }
  return {
    path,
    find(name) {
      let target = posix.join('/', name);
      for (let i = 0; i < MAX_LINKS; i++) {
        const place = files.get(target);
        if (place) return place;
        const link = links.get(target);
        if (link === undefined) return null;
        target = link;
      }
      return null;
    },
  };
}
