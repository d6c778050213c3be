// The tar of a layer that the build makes itself.
import { END_MARK, entryHeader, filePadding, type Inode, type TarEntry, type Timestamp } from '../../images/build.js';
import type { CopyEntry } from './layer-entries.js';

/**
 * @param read the contents of a regular file at the source
 * @param latest times after it become it. Undefined: times stay
 */
export async function* layerTar(
  entries: readonly CopyEntry[],
  read: (inode: Inode) => AsyncIterable<Buffer> | Iterable<Buffer>,
  latest?: Timestamp,
): AsyncGenerator<Buffer> {
  for (const entry of entries) {
    const isLater = latest !== undefined && entry.mtime.seconds >= latest.seconds;
    yield entryHeader(tarEntry(isLater ? { ...entry, mtime: latest } : entry));
    if (entry.kind !== 'file' || entry.link !== undefined || entry.size === 0) continue;
    if (Buffer.isBuffer(entry.contents)) yield entry.contents;
    else if (entry.contents !== undefined) yield* entry.contents();
    else if (entry.source !== undefined) yield* read(entry.source);
    yield filePadding(entry.size);
  }
  yield END_MARK;
}

function tarEntry({ path, kind, link, size, target, device, ...rest }: CopyEntry): TarEntry {
  const isLink = link !== undefined;
  return {
    type: isLink ? 'link' : kind,
    path: kind === 'directory' ? `${path}/` : path,
    linkname: link ?? target,
    mode: rest.mode,
    uid: rest.uid,
    gid: rest.gid,
    size: kind === 'file' && !isLink ? size : 0,
    mtime: rest.mtime,
    // Linux's new_encode_dev(), as the store has it.
    devMajor: (device >>> 8) & 0xfff,
    devMinor: (device & 0xff) | ((device >>> 12) & 0xfff00),
    xattrs: isLink ? null : rest.xattrs,
  };
}
