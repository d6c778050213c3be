// The part of the EROFS on-disk format that is written here (Linux, fs/erofs/erofs_fs.h). Linux 5.4
// and later read all of it. Numbers are little-endian, blocks 4096 bytes.

export const BLOCK_SIZE = 4096;

/** struct erofs_super_block, at this offset of block 0. */
export const SUPER_OFFSET = 1024;
export const SUPER_SIZE = 128;
export const SUPER_MAGIC = 0xe0f5e1e2;
export const FEATURE_COMPAT_SB_CHKSUM = 0x1;
export const FEATURE_COMPAT_MTIME = 0x2;

/** An inode's address (nid) is its byte offset in units of this. */
export const INODE_SLOT = 32;
export const INODE_COMPACT_SIZE = 32;
export const INODE_EXTENDED_SIZE = 64;

/** i_format: bit 0 is the inode's version, bits 1 to 3 its data layout. */
export const LAYOUT_COMPACT = 0;
export const LAYOUT_EXTENDED = 1;
export const DATA_LAYOUT_BIT = 1;
/** All data is in blocks of its own. */
export const FLAT_PLAIN = 0;
/** The last, partial block follows the inode, in the same block. */
export const FLAT_INLINE = 2;

/** struct erofs_dirent. */
export const DIRENT_SIZE = 12;

/** struct erofs_xattr_ibody_header, struct erofs_xattr_entry. */
export const XATTR_HEADER_SIZE = 12;
export const XATTR_ENTRY_SIZE = 4;

/** An attribute name is stored as the number of a prefix and the rest of the name. */
export const XATTR_PREFIXES: [prefix: string, index: number][] = [
  ['user.', 1],
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['trusted.', 4],
  ['security.', 6],
];

export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFBLK = 0o060000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

/** File types of directory entries (Linux, include/linux/fs_types.h). */
export const FT_REG_FILE = 1;
export const FT_DIR = 2;
export const FT_CHRDEV = 3;
export const FT_BLKDEV = 4;
export const FT_FIFO = 5;
export const FT_SYMLINK = 7;

const CRC32C_TABLE = new Uint32Array(256).map((_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C (Castagnoli) as the kernel's crc32c(~0, ...): without the final inversion. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC32C_TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return crc >>> 0;
}
