// Merges layers, from the bottom up, into one tree (OCI image-spec 1.1, layer.md, "Applying
// Changesets"). Where the specification leaves a choice, this follows umoci:
// - Parents that are symbolic links are resolved inside the root.
// - Missing parents are created.
// - A whiteout does not remove what its own layer added.

import { ImageError } from '../errors.js';
import {
  MAX_DEPTH,
  MAX_ENTRIES_PER_IMAGE,
  MAX_NAME_BYTES,
  MAX_NAMES_PER_IMAGE,
  MAX_PATH_STEPS_PER_IMAGE,
} from '../limits.js';
import type { Timestamp } from '../tar/pax.js';
import { printable } from './convert.js';
import type { LayerEntry } from './layer-index.js';

export type InodeKind = 'file' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo';

/** A file, with any number of names. Strings hold one byte for each character (latin1). */
export interface Inode {
  kind: InodeKind;
  mode: number;
  uid: number;
  gid: number;
  mtime: Timestamp;
  xattrs: Map<string, Buffer> | null;
  /** Number of its names. */
  names: number;
  /** A regular file's bytes. They begin at `page` of the data file of `layer`, counted from 0. */
  size: number;
  layer: number;
  page: number;
  /** A symlink's target. */
  target: string;
  /** A device node's number, in Linux's encoding. */
  device: number;
  /** A directory's names. Every other kind has the same empty map. */
  children: Map<string, Name>;
}

/** One name in a directory. */
export interface Name {
  inode: Inode;
  /** The last layer that added this name, changed it, or added something below it. */
  layer: number;
}

const NO_CHILDREN: Map<string, Name> = new Map();
/**
 * As filepath-securejoin. The kernel's MAXSYMLINKS (40) would be too strict for a path walked in
 * one go.
 */
const MAX_SYMLINKS = 255;
const EPOCH: Timestamp = { seconds: 0, nanoseconds: 0 };

type Metadata = Pick<Inode, 'mode' | 'uid' | 'gid' | 'mtime' | 'xattrs'>;

/** The metadata of a parent that the layer does not mention. */
const IMPLICIT_DIRECTORY: Metadata = { mode: 0o755, uid: 0, gid: 0, mtime: EPOCH, xattrs: null };

/**
 * Merges layers.
 *
 * @param layers from the bottom up
 * @returns the root directory
 * @throws ImageError `corrupt` if an entry cannot be applied: a parent is a file, or a hard link
 *   has no target; `too-large`
 */
export function mergeLayers(layers: Iterable<Iterable<LayerEntry>>): Inode {
  const tree = new Tree();
  for (const entries of layers) {
    tree.beginLayer();
    for (const entry of entries) tree.apply(entry);
  }
  return tree.root;
}

/** A directory, and the names on the path to it, each in the directory before it. */
interface Place {
  directory: Inode;
  trail: Name[];
}

class Tree {
  readonly root = newInode('directory', IMPLICIT_DIRECTORY);
  #layer = -1;
  #entries = 0;
  #names = 0;
  #steps = 0;
  /** Directories with nothing of lower layers left in them. */
  readonly #emptied = new Set<Inode>();
  /** The last parent and its place. Entries usually come sorted by directory. */
  #lastPath: string | null = null;
  #lastPlace: Place | null = null;

  beginLayer(): void {
    this.#layer++;
    this.#emptied.clear();
    this.#forget();
  }

  apply(entry: LayerEntry): void {
    if (++this.#entries > MAX_ENTRIES_PER_IMAGE) {
      throw new ImageError('too-large', `the image's layers have more than ${MAX_ENTRIES_PER_IMAGE} entries`);
    }
    if (entry.kind === 'opaque') {
      const place = this.#find(entry.path);
      if (place) this.#removeLower(place.directory);
      return;
    }
    if (entry.path === '') {
      if (entry.kind !== 'directory') throw cannot(entry, 'it would replace the root directory');
      setMetadata(this.root, entry);
      return;
    }
    const slash = entry.path.lastIndexOf('/');
    const parent = slash === -1 ? '' : entry.path.slice(0, slash);
    const name = entry.path.slice(slash + 1);
    if (entry.kind === 'whiteout') {
      const place = this.#find(parent);
      if (place) this.#whiteOut(place.directory, name);
      return;
    }
    this.#put(this.#make(parent, entry), name, entry);
  }

  #put({ directory, trail }: Place, name: string, entry: LayerEntry): void {
    const existing = directory.children.get(name);
    if (existing && existing.inode.kind === 'directory' && entry.kind === 'directory') {
      setMetadata(existing.inode, entry);
      existing.layer = this.#layer;
    } else {
      if (existing) this.#unlink(directory, name, existing);
      const inode = entry.kind === 'link' ? this.#linkTarget(entry) : this.#create(entry);
      this.#add(directory, name, inode);
      if (inode.kind === 'symlink') this.#forget();
    }
    for (const passed of trail) passed.layer = this.#layer;
  }

  #create(entry: LayerEntry): Inode {
    const inode = newInode(entry.kind as InodeKind, entry);
    inode.size = entry.kind === 'file' ? entry.size : 0;
    inode.layer = this.#layer;
    inode.page = entry.page;
    inode.target = entry.link;
    inode.device = entry.device;
    if (inode.kind === 'symlink') inode.mode = 0o777;
    return inode;
  }

  #linkTarget(entry: LayerEntry): Inode {
    const slash = entry.link.lastIndexOf('/');
    const place = this.#find(slash === -1 ? '' : entry.link.slice(0, slash));
    const target = place?.directory.children.get(entry.link.slice(slash + 1))?.inode;
    if (!target) throw cannot(entry, `it is a hard link to ${printable(entry.link)}, which does not exist`);
    if (target.kind === 'directory') throw cannot(entry, 'it is a hard link to a directory');
    return target;
  }

  #whiteOut(directory: Inode, name: string): void {
    const found = directory.children.get(name);
    if (!found) return;
    if (found.layer !== this.#layer) this.#unlink(directory, name, found);
    else if (found.inode.kind === 'directory') this.#removeLower(found.inode);
  }

  /** Removes everything below `directory` that lower layers added. */
  #removeLower(directory: Inode): void {
    if (this.#emptied.has(directory)) return;
    this.#emptied.add(directory);
    for (const [name] of [...directory.children]) this.#whiteOut(directory, name);
  }

  #unlink(directory: Inode, name: string, { inode }: Name): void {
    directory.children.delete(name);
    this.#names--;
    inode.names--;
    if (inode.kind === 'directory' || inode.kind === 'symlink') this.#forget();
    for (const [childName, child] of inode.children) this.#unlink(inode, childName, child);
  }

  #add(directory: Inode, text: string, inode: Inode): Name {
    if (++this.#names > MAX_NAMES_PER_IMAGE) {
      throw new ImageError('too-large', `the image has more than ${MAX_NAMES_PER_IMAGE} files`);
    }
    const name: Name = { inode, layer: this.#layer };
    inode.names++;
    directory.children.set(text, name);
    return name;
  }

  /** Drops the remembered place: its path may lead elsewhere now. */
  #forget(): void {
    this.#lastPath = null;
    this.#lastPlace = null;
  }

  /** Returns the directory at `path`, or null. Symbolic links are followed inside the root. */
  #find(path: string): Place | null {
    if (this.#lastPath === path) return this.#lastPlace;
    return this.#walk(path, null);
  }

  /** As `find`, but creates missing directories. */
  #make(path: string, entry: LayerEntry): Place {
    if (this.#lastPath === path && this.#lastPlace) return this.#lastPlace;
    const place = this.#walk(path, entry)!;
    this.#lastPath = path;
    this.#lastPlace = place;
    return place;
  }

  /**
   * Walks to a directory. Missing directories are created for the entry `maker`. Without one, the
   * walk returns null at a missing directory.
   */
  #walk(path: string, maker: LayerEntry | null): Place | null {
    const names = this.#resolve(path, maker);
    const trail: Name[] = [];
    let directory = this.root;
    for (const name of names) {
      let next = directory.children.get(name);
      if (!next) {
        if (!maker) return null;
        next = this.#add(directory, name, newInode('directory', IMPLICIT_DIRECTORY));
      }
      if (next.inode.kind !== 'directory') {
        if (!maker) return null;
        throw cannot(maker, 'its parent is not a directory');
      }
      trail.push(next);
      directory = next.inode;
    }
    return { directory, trail };
  }

  /**
   * Follows all symbolic links, with `..` and absolute targets kept inside the root. Components
   * that do not exist are kept as they are.
   */
  #resolve(path: string, maker: LayerEntry | null): string[] {
    if (path === '') return [];
    const pending = path.split('/').reverse();
    const names: string[] = [];
    const inodes: (Inode | undefined)[] = [this.root];
    let links = 0;
    while (pending.length > 0) {
      const name = pending.pop()!;
      if (++this.#steps > MAX_PATH_STEPS_PER_IMAGE) {
        const limit = `the limit is ${MAX_PATH_STEPS_PER_IMAGE} steps`;
        throw new ImageError('too-large', `the image's symbolic links make its paths too long; ${limit}`);
      }
      if (name === '' || name === '.') continue;
      if (name === '..') {
        names.pop();
        if (inodes.length > 1) inodes.pop();
        continue;
      }
      const inode = inodes[inodes.length - 1]?.children.get(name)?.inode;
      if (inode?.kind === 'symlink') {
        if (++links > MAX_SYMLINKS) {
          throw new ImageError(
            'corrupt',
            `the image has a path with too many symbolic links: ${printable(maker?.path ?? path)}`,
          );
        }
        if (inode.target.startsWith('/')) {
          names.length = 0;
          inodes.length = 1;
        }
        for (const part of inode.target.split('/').reverse()) pending.push(part);
        continue;
      }
      if (name.length > MAX_NAME_BYTES) {
        throw new ImageError(
          'too-large',
          `the image has a name of ${name.length} bytes; the limit is ${MAX_NAME_BYTES}`,
        );
      }
      if (names.length >= MAX_DEPTH) {
        const shown = printable(maker?.path ?? path);
        throw new ImageError('too-large', `the image has a path of more than ${MAX_DEPTH} directories: ${shown}`);
      }
      names.push(name);
      inodes.push(inode);
    }
    return names;
  }
}

function newInode(kind: InodeKind, metadata: Metadata): Inode {
  return {
    kind,
    mode: metadata.mode,
    uid: metadata.uid,
    gid: metadata.gid,
    mtime: metadata.mtime,
    xattrs: metadata.xattrs,
    names: 0,
    size: 0,
    layer: 0,
    page: 0,
    target: '',
    device: 0,
    children: kind === 'directory' ? new Map() : NO_CHILDREN,
  };
}

function setMetadata(inode: Inode, { mode, uid, gid, mtime, xattrs }: Metadata): void {
  inode.mode = mode;
  inode.uid = uid;
  inode.gid = gid;
  inode.mtime = mtime;
  inode.xattrs = xattrs;
}

function cannot(entry: LayerEntry, why: string): ImageError {
  return new ImageError('corrupt', `the layer's entry ${printable(entry.path)} cannot be applied: ${why}`);
}
