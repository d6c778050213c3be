// The saved state of a FUSE server and its checks. A state is trusted as little as the guest: it
// names files of a share that are opened again.
import { constants } from 'node:fs';
import { boolean, type Check, FieldError, integer, list, record, text, u32 } from '../../saved-state.js';
import { FUSE_KERNEL_MINOR_VERSION, FUSE_LEAST_MINOR_VERSION } from './fuse.js';
import { S_IFDIR, S_IFMT, S_IFREG } from './host.js';
import type { Inode } from './inode.js';

/** The most files that a server remembers, and the most that it has open. */
export const MAX_INODES = 2 ** 19;
export const MAX_HANDLES = 2 ** 16;

/** Flags of open(2) that an open file keeps. */
export const KEPT_FLAGS = constants.O_WRONLY | constants.O_RDWR | constants.O_DSYNC | constants.O_SYNC;
const ACCESS_MODE = constants.O_WRONLY | constants.O_RDWR;

export interface SavedInode {
  node: number;
  /** The node of its directory: a share's root, or an inode before it in the list. */
  parent: number;
  key: number | string;
  device: number;
  birthSeconds: number;
  birthNanoseconds: number;
  type: number;
  name: string;
  lookups: number;
}

export interface SavedHandle {
  handle: number;
  node: number;
  flags: number;
  isDirectory: boolean;
}

export interface FuseState {
  /** The protocol's minor version; 0 before FUSE_INIT. */
  minor: number;
  nextNode: number;
  inodes: SavedInode[];
  handles: SavedHandle[];
}

/**
 * Far below the largest safe integer: a restored server gives each new file the next node number.
 */
const anyNode = integer(1, 2 ** 52);

const minorVersion: Check<number> = (value) =>
  value === 0 ? 0 : integer(FUSE_LEAST_MINOR_VERSION, FUSE_KERNEL_MINOR_VERSION)(value);

const fileType: Check<number> = (value) => {
  if (typeof value === 'number' && (value & S_IFMT) === value) return value;
  throw new FieldError('a file type');
};

const inodeNumber = integer(0, Number.MAX_SAFE_INTEGER);
const deviceAndInode = text(/^\d{1,16} \d{1,10} \d{1,10}$/, 'a device and an inode number');
const fileKey: Check<number | string> = (value) =>
  typeof value === 'string' ? deviceAndInode(value) : inodeNumber(value);

const checkShape = record<FuseState>({
  minor: minorVersion,
  nextNode: anyNode,
  inodes: list(
    record<SavedInode>({
      node: anyNode,
      parent: anyNode,
      key: fileKey,
      device: integer(0, Number.MAX_SAFE_INTEGER),
      birthSeconds: u32,
      birthNanoseconds: u32,
      type: fileType,
      // One name, in bytes as Latin-1.
      name: text(/^(?!\.{1,2}$)[\x01-\x2e\x30-\xff]{1,255}$/, 'the name of a file'),
      lookups: integer(0, Number.MAX_SAFE_INTEGER),
    }),
    0,
    MAX_INODES,
  ),
  handles: list(
    record<SavedHandle>({ handle: integer(1, MAX_HANDLES), node: anyNode, flags: u32, isDirectory: boolean }),
    0,
    MAX_HANDLES,
  ),
});

/**
 * The check of a server's state.
 * @param roots of the server's shares
 * @param firstNode the first node that is no root's
 */
export function fuseState(roots: readonly Inode[], firstNode: number): Check<FuseState> {
  return (value) => {
    const state = checkShape(value);
    // Before FUSE_INIT the driver knows nothing of the shares, which may be others now.
    if (state.minor === 0 && state.inodes.length === 0 && state.handles.length === 0) {
      return { ...state, nextNode: Math.max(state.nextNode, firstNode) };
    }
    if (state.nextNode < firstNode) throw new FieldError(`${firstNode} or more`, '.nextNode');
    const files = checkInodes(state, roots, firstNode);
    checkHandles(state, files);
    return state;
  };
}

type KnownFile = Pick<Inode, 'type'> & { readOnly: boolean };

/**
 * Each inode has a node of its own, and is in a directory that comes before it. Returns all files
 * by node.
 */
function checkInodes(
  { inodes, nextNode }: FuseState,
  roots: readonly Inode[],
  firstNode: number,
): Map<number, KnownFile> {
  const files = new Map<number, KnownFile>();
  for (const { node, type, share } of roots) files.set(node, { type, readOnly: share.readOnly });
  for (const [at, { node, parent, type }] of inodes.entries()) {
    if (node < firstNode || node >= nextNode || files.has(node)) {
      throw new FieldError(`a unique node from ${firstNode} to nextNode`, `.inodes[${at}].node`);
    }
    const directory = files.get(parent);
    if (directory?.type !== S_IFDIR) {
      throw new FieldError('a directory before it in the list', `.inodes[${at}].parent`);
    }
    files.set(node, { type, readOnly: directory.readOnly });
  }
  return files;
}

/** Each handle is of a file of the right type, open in a way that the share allows. */
function checkHandles({ handles }: FuseState, files: ReadonlyMap<number, KnownFile>): void {
  const taken = new Set<number>();
  for (const [at, { handle, node, flags, isDirectory }] of handles.entries()) {
    if (taken.has(handle)) throw new FieldError('a unique handle', `.handles[${at}].handle`);
    taken.add(handle);
    // Undefined for a file that had lost its name when it was saved: it is gone.
    const file = files.get(node);
    if (file !== undefined && file.type !== (isDirectory ? S_IFDIR : S_IFREG)) {
      throw new FieldError("in agreement with the file's type", `.handles[${at}].isDirectory`);
    }
    const access = flags & ACCESS_MODE;
    const isKept = isDirectory ? flags === 0 : (flags & ~KEPT_FLAGS) === 0 && access !== ACCESS_MODE;
    if (!isKept || (file?.readOnly && access !== constants.O_RDONLY)) {
      throw new FieldError('a valid way to open the file', `.handles[${at}].flags`);
    }
  }
}
