// Writes the metadata of an EROFS file system: the superblock, the inodes, the directories. File
// contents stay in the layers' data files, which follow the metadata on the disk. Inodes refer to
// them by block.
//
// There are two passes: the first places every inode, and the second writes, once all addresses are
// known.
//
//   block 0      the superblock, the root's inode, then the other inodes. Each is followed by its
//                attributes and, if it fits into the same block, by the tail of its directory or by
//                its symlink's target
//   then         whole blocks of directories, and long symlink targets
//   then         the data files, in the order of the layers

import { createHash } from 'node:crypto';
import { ImageError } from '../errors.js';
import type { Inode, InodeKind } from '../layer/merge.js';
import { MAX_IMAGE_BYTES } from '../limits.js';
import type { Timestamp } from '../tar/pax.js';
import { compareNames, type Dirent, shapeDirectory, writeDirentBlock } from './directory.js';
import * as format from './format.js';
import { BLOCK_SIZE, INODE_SLOT } from './format.js';
import { encodeXattrs, xattrCount } from './xattrs.js';

/** An inode's place, and what follows the inode. */
interface Placed {
  inode: Inode;
  parent: Placed | null;
  links: number;
  extended: boolean;
  xattrs: Buffer;
  /** Bytes into the metadata. */
  offset: number;
  /** Bytes of the file. */
  size: number;
  /** A directory's sorted names, '.' and '..' included, and the number of them in each block. */
  names: string[];
  counts: number[];
  /** True if the last block of a directory, or a whole symlink target, follows the inode. */
  inline: boolean;
  /** The first whole block of a directory, or of a symlink's target. */
  block: number;
}

const TYPES: Record<InodeKind, { mode: number; fileType: number }> = {
  file: { mode: format.S_IFREG, fileType: format.FT_REG_FILE },
  directory: { mode: format.S_IFDIR, fileType: format.FT_DIR },
  char: { mode: format.S_IFCHR, fileType: format.FT_CHRDEV },
  block: { mode: format.S_IFBLK, fileType: format.FT_BLKDEV },
  fifo: { mode: format.S_IFIFO, fileType: format.FT_FIFO },
  symlink: { mode: format.S_IFLNK, fileType: format.FT_SYMLINK },
};

const NO_XATTRS = Buffer.alloc(0);

/**
 * Writes a tree as EROFS metadata.
 *
 * @param root the root directory
 * @param dataLengths bytes of each layer's data file, multiples of 4096, indexed by the tree's
 *   `layer`
 * @param identity seeds the volume's UUID, so that the same image gives the same bytes
 * @returns the metadata, a multiple of 4096 bytes. Followed by the data files, it is a whole file
 *   system
 * @throws ImageError `too-large` if the blocks do not fit into EROFS's 32-bit addresses
 */
export function writeErofs(root: Inode, dataLengths: number[], identity: string): Buffer {
  const buildTime = commonTime(root);
  const placed = collect(root, (inode) => needsExtended(inode, buildTime));
  const inodeBytes = placeInodes(placed);
  const metadataBlocks = placeBlocks(placed, Math.ceil(inodeBytes / BLOCK_SIZE));
  const layerBlocks: number[] = [];
  let blocks = metadataBlocks;
  for (const length of dataLengths) {
    layerBlocks.push(blocks);
    blocks += length / BLOCK_SIZE;
  }
  if (blocks * BLOCK_SIZE > MAX_IMAGE_BYTES) {
    throw new ImageError('too-large', `the image's disk exceeds ${MAX_IMAGE_BYTES} bytes`);
  }
  const metadata = Buffer.alloc(metadataBlocks * BLOCK_SIZE);
  const byInode = new Map(placed.map((place) => [place.inode, place]));
  for (const [number, place] of placed.entries()) {
    writeInode(metadata, place, number + 1, layerBlocks);
    if (place.inode.kind === 'directory') writeDirectory(metadata, place, byInode);
    else if (place.inode.kind === 'symlink') metadata.write(place.inode.target, tailOffset(place), 'latin1');
  }
  writeSuperblock(metadata, { root: byInode.get(root)!, inodes: placed.length, blocks, buildTime, identity });
  return metadata;
}

/**
 * The most frequent time. Inodes with this time take half the space if all their other values are
 * small too.
 */
function commonTime(root: Inode): Timestamp {
  // The keys are rounded: times closer than a microsecond count as one, which does no harm.
  const counts = new Map<number, number>();
  let best = root.mtime;
  let most = 0;
  const seen = new Set<Inode>([root]);
  // A Set's iteration includes members that are added during it.
  for (const { mtime, children } of seen) {
    const key = mtime.seconds + mtime.nanoseconds / 1e9;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    if (count > most) {
      most = count;
      best = mtime;
    }
    for (const name of children.values()) seen.add(name.inode);
  }
  return best;
}

function needsExtended({ uid, gid, size, names, mtime }: Inode, buildTime: Timestamp): boolean {
  return (
    uid > 0xffff ||
    gid > 0xffff ||
    size > 0xffffffff ||
    names > 0xffff ||
    mtime.seconds !== buildTime.seconds ||
    mtime.nanoseconds !== buildTime.nanoseconds
  );
}

/** Lists every inode once. A directory comes before its contents. */
function collect(root: Inode, extended: (inode: Inode) => boolean): Placed[] {
  const placed: Placed[] = [];
  const seen = new Set<Inode>();
  const visit = (inode: Inode, parent: Placed | null): void => {
    if (seen.has(inode)) return;
    seen.add(inode);
    placed.push(newPlaced(inode, parent, extended(inode)));
  };
  visit(root, null);
  // The iteration includes the inodes that it adds.
  for (const place of placed) {
    if (place.inode.kind !== 'directory') continue;
    const children = [...place.inode.children].filter(([, { inode }]) => !isOverlayWhiteout(inode));
    place.names = [...children.map(([name]) => name), '.', '..'].sort(compareNames);
    const { counts, size } = shapeDirectory(place.names);
    place.counts = counts;
    place.size = size;
    if (size > 0xffffffff) place.extended = true;
    for (const [, { inode }] of children) {
      if (inode.kind === 'directory') place.links++;
      visit(inode, place);
    }
    if (place.links > 0xffff) place.extended = true;
  }
  return placed;
}

/**
 * Returns true for a character device 0:0, which an overlay reads as the mark of a removed file
 * (Linux, Documentation/filesystems/overlayfs.rst). A lower layer cannot show one: its name would
 * be listed and could not be opened.
 */
function isOverlayWhiteout({ kind, device }: Inode): boolean {
  return kind === 'char' && device === 0;
}

function newPlaced(inode: Inode, parent: Placed | null, extended: boolean): Placed {
  return {
    inode,
    parent,
    links: inode.kind === 'directory' ? 2 : inode.names,
    extended,
    xattrs: inode.xattrs ? encodeXattrs(inode.xattrs) : NO_XATTRS,
    offset: 0,
    size: inode.kind === 'symlink' ? inode.target.length : inode.size,
    names: [],
    counts: [],
    inline: false,
    block: 0,
  };
}

/** Gives each inode its offset, the root first. Returns the end of the last. */
function placeInodes(placed: Placed[]): number {
  let end = format.SUPER_OFFSET + format.SUPER_SIZE;
  for (const place of placed) {
    const { kind } = place.inode;
    const tail = kind === 'symlink' ? place.size : kind === 'directory' ? place.size % BLOCK_SIZE : 0;
    const head = inodeSize(place) + place.xattrs.length;
    // The tail must lie in one block. The kernel also reads a symlink fastest if the inode is in
    // the same block.
    place.inline = tail > 0 && head + tail <= BLOCK_SIZE;
    const size = head + (place.inline ? tail : 0);
    place.offset = roundUp(end, INODE_SLOT);
    const left = BLOCK_SIZE - (place.offset % BLOCK_SIZE);
    if (left < Math.min(size, BLOCK_SIZE)) place.offset += left;
    end = place.offset + size;
  }
  return end;
}

/**
 * Gives directories and symlinks the other blocks that they need. Returns the number of the first
 * free block.
 */
function placeBlocks(placed: Placed[], firstBlock: number): number {
  let block = firstBlock;
  for (const place of placed) {
    const { kind } = place.inode;
    if (kind !== 'directory' && kind !== 'symlink') continue;
    place.block = block;
    block += Math.ceil(place.size / BLOCK_SIZE) - (place.inline ? 1 : 0);
  }
  return block;
}

function writeInode(into: Buffer, place: Placed, number: number, layerBlocks: number[]): void {
  const { inode, offset, extended } = place;
  const dataLayout = place.inline ? format.FLAT_INLINE : format.FLAT_PLAIN;
  const version = extended ? format.LAYOUT_EXTENDED : format.LAYOUT_COMPACT;
  into.writeUInt16LE(version | (dataLayout << format.DATA_LAYOUT_BIT), offset);
  into.writeUInt16LE(xattrCount(place.xattrs.length), offset + 2);
  into.writeUInt16LE(TYPES[inode.kind].mode | inode.mode, offset + 4);
  into.writeUInt32LE(place.size % 2 ** 32, offset + 8);
  into.writeUInt32LE(addressOf(place, layerBlocks), offset + 16);
  into.writeUInt32LE(number, offset + 20);
  if (extended) {
    into.writeUInt32LE(Math.floor(place.size / 2 ** 32), offset + 12);
    into.writeUInt32LE(inode.uid, offset + 24);
    into.writeUInt32LE(inode.gid, offset + 28);
    into.writeBigInt64LE(BigInt(inode.mtime.seconds), offset + 32);
    into.writeUInt32LE(inode.mtime.nanoseconds, offset + 40);
    into.writeUInt32LE(place.links, offset + 44);
  } else {
    into.writeUInt16LE(place.links, offset + 6);
    into.writeUInt16LE(inode.uid, offset + 24);
    into.writeUInt16LE(inode.gid, offset + 26);
  }
  place.xattrs.copy(into, offset + inodeSize(place));
}

/** The inode's `i_u`: a device number, or the block where the data begins. */
function addressOf({ inode, size, block }: Placed, layerBlocks: number[]): number {
  if (inode.kind === 'char' || inode.kind === 'block') return inode.device;
  if (inode.kind === 'file') return size === 0 ? 0 : layerBlocks[inode.layer]! + inode.page;
  return inode.kind === 'fifo' ? 0 : block;
}

function writeDirectory(into: Buffer, place: Placed, byInode: Map<Inode, Placed>): void {
  const dirents = place.names.map((name): Dirent => {
    const inode = place.inode.children.get(name)?.inode;
    const target = inode ? byInode.get(inode)! : name === '.' ? place : (place.parent ?? place);
    return { name, nid: target.offset / INODE_SLOT, fileType: TYPES[target.inode.kind].fileType };
  });
  let first = 0;
  for (const [i, count] of place.counts.entries()) {
    const last = i === place.counts.length - 1;
    const offset = last ? tailOffset(place) : (place.block + i) * BLOCK_SIZE;
    writeDirentBlock(into, offset, dirents, first, count);
    first += count;
  }
}

/** The offset of a directory's last, partial block, or of a symlink's target. */
function tailOffset(place: Placed): number {
  if (place.inline) return place.offset + inodeSize(place) + place.xattrs.length;
  return (place.block + Math.ceil(place.size / BLOCK_SIZE) - 1) * BLOCK_SIZE;
}

function inodeSize({ extended }: Placed): number {
  return extended ? format.INODE_EXTENDED_SIZE : format.INODE_COMPACT_SIZE;
}

interface Superblock {
  root: Placed;
  inodes: number;
  blocks: number;
  buildTime: Timestamp;
  identity: string;
}

function writeSuperblock(into: Buffer, { root, inodes, blocks, buildTime, identity }: Superblock): void {
  const at = format.SUPER_OFFSET;
  into.writeUInt32LE(format.SUPER_MAGIC, at);
  into.writeUInt32LE(format.FEATURE_COMPAT_SB_CHKSUM | format.FEATURE_COMPAT_MTIME, at + 8);
  into[at + 12] = Math.log2(BLOCK_SIZE);
  into.writeUInt16LE(root.offset / INODE_SLOT, at + 14);
  into.writeBigUInt64LE(BigInt(inodes), at + 16);
  into.writeBigInt64LE(BigInt(buildTime.seconds), at + 24);
  into.writeUInt32LE(buildTime.nanoseconds, at + 32);
  into.writeUInt32LE(blocks, at + 36);
  // Addresses of inodes count from block 0, and there is no area of shared attributes.
  const uuid = createHash('sha256').update(identity).digest().subarray(0, 16);
  uuid.writeUInt8((uuid.readUInt8(6) & 0x0f) | 0x80, 6);
  uuid.writeUInt8((uuid.readUInt8(8) & 0x3f) | 0x80, 8);
  uuid.copy(into, at + 48);
  into.writeUInt32LE(format.crc32c(into.subarray(at, BLOCK_SIZE)), at + 4);
}

function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
