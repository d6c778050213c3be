// Archives that tests of builds hand in.
import { END_MARK, entryHeader, filePadding, type TarEntry } from '../../../images/build.js';

/** An entry; one whose path ends with a slash is a directory. */
export type Item = Partial<TarEntry> & { path: string; text?: string };

/** What an entry has unless its item says another. */
export const FILE: Omit<TarEntry, 'path'> = {
  ...{ type: 'file', mode: 0o644, uid: 0, gid: 0, linkname: '', size: 0 },
  ...{ mtime: { seconds: 5, nanoseconds: 0 }, devMajor: 0, devMinor: 0, xattrs: null },
};

export function tar(...items: Item[]): Buffer {
  const parts = items.flatMap(({ text = '', ...item }) => {
    const contents = Buffer.from(text);
    const isFolder = item.path.endsWith('/');
    const kind = isFolder ? ({ type: 'directory', mode: 0o755 } as const) : {};
    return [entryHeader({ ...FILE, ...kind, ...item, size: contents.length }), contents, filePadding(contents.length)];
  });
  return Buffer.concat([...parts, END_MARK]);
}
