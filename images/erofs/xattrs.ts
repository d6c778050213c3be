// Extended attributes, in the format that follows an inode (Linux, fs/erofs/xattr.c).

import { XATTR_ENTRY_SIZE, XATTR_HEADER_SIZE, XATTR_PREFIXES } from './format.js';

/**
 * Encodes an inode's attributes.
 *
 * @param xattrs full names (latin1) and values
 * @returns the bytes that follow the inode, a multiple of 4. Empty if no name has a prefix that
 *   EROFS knows (Linux has no other namespaces that such a file system could hold)
 */
export function encodeXattrs(xattrs: Map<string, Buffer>): Buffer {
  const parts: Buffer[] = [];
  // Sorted by name, so that the same files give the same bytes.
  for (const name of [...xattrs.keys()].sort()) {
    const value = xattrs.get(name)!;
    const [prefix, index] = XATTR_PREFIXES.find(([start]) => name.startsWith(start)) ?? ['', 0];
    const suffix = name.slice(prefix.length);
    if (index === 0 || (suffix === '') !== prefix.startsWith('system.')) continue;
    const entry = Buffer.alloc(align4(XATTR_ENTRY_SIZE + suffix.length + value.length));
    entry[0] = suffix.length;
    entry[1] = index;
    entry.writeUInt16LE(value.length, 2);
    entry.write(suffix, XATTR_ENTRY_SIZE, 'latin1');
    value.copy(entry, XATTR_ENTRY_SIZE + suffix.length);
    parts.push(entry);
  }
  if (parts.length === 0) return Buffer.alloc(0);
  return Buffer.concat([Buffer.alloc(XATTR_HEADER_SIZE), ...parts]);
}

/** The `i_xattr_icount` of an inode with `bytes` bytes of attributes: the header counts as one. */
export function xattrCount(bytes: number): number {
  return bytes === 0 ? 0 : (bytes - XATTR_HEADER_SIZE) / 4 + 1;
}

function align4(size: number): number {
  return (size + 3) & ~3;
}
