// Converts a layer's tar to a data file and an index in one pass, while it streams. What the layer
// does to the tree (OCI image-spec 1.1, layer.md) is checked and recorded here. It is applied when
// the layers of an image are merged.

import type { FileHandle } from 'node:fs/promises';
import { ImageError } from '../errors.js';
import {
  MAX_DEPTH,
  MAX_LAYER_TAR_BYTES,
  MAX_NAME_BYTES,
  MAX_PATH_BYTES,
  MAX_XATTR_BYTES,
  MAX_XATTR_VALUE_BYTES,
} from '../limits.js';
import { type TarEntry, TarReader } from '../tar/reader.js';
import { DataFileWriter } from './data-file.js';
import { FramingWriter } from './framing.js';
import { type LayerEntryKind, LayerIndexWriter } from './layer-index.js';

const WHITEOUT_PREFIX = '.wh.';
const OPAQUE_WHITEOUT = '.wh..wh..opq';

/**
 * Attributes that describe the machine a layer was made on, not the file. Other unpackers of
 * container images drop them too. An overlay mount in the guest would interpret `trusted.overlay.*`
 * itself.
 */
const IGNORED_XATTRS = /^(security\.selinux|system\.nfs4_acl|trusted\.overlay\..*)$/s;

export interface ConvertedLayer {
  index: Buffer;
  /** Bytes of the data file, a multiple of 4096. */
  dataLength: number;
}

/**
 * Converts one layer.
 *
 * @param tar the decompressed tar
 * @param data an empty file for the contents. Complete and synced when this resolves
 * @param framing an empty file for the rest of the tar. Complete and synced when this resolves
 * @param maxTarBytes limit of the tar's length, in bytes
 * @throws ImageError `corrupt`, `unsupported`, `too-large`, `not-an-image`; the error of the stream
 *   or of a file
 */
export async function convertLayer(
  tar: AsyncIterable<Buffer>,
  data: FileHandle,
  framing: FileHandle,
  maxTarBytes = MAX_LAYER_TAR_BYTES,
): Promise<ConvertedLayer> {
  const contents = new DataFileWriter(data);
  const index = new LayerIndexWriter();
  const frame = new FramingWriter(framing);
  const reader = new TarReader({
    entry: (entry) => addEntry(index, contents, entry),
    data(offset, bytes) {
      frame.contents(index.count - 1, offset, bytes);
      contents.write(offset, bytes);
    },
  });
  let total = 0;
  try {
    for await (const chunk of tar) {
      total += chunk.length;
      if (total > maxTarBytes) {
        throw new ImageError('too-large', `the layer exceeds ${maxTarBytes} bytes`);
      }
      frame.beginChunk(chunk);
      reader.write(chunk);
      frame.endChunk();
      await contents.ready();
      await frame.ready();
    }
    // Other engines take a layer of no bytes for an empty one.
    if (total > 0) reader.end();
    await Promise.all([contents.finish(), frame.finish()]);
  } finally {
    frame.abandon();
  }
  return { index: index.finish(contents.length), dataLength: contents.length };
}

function addEntry(index: LayerIndexWriter, contents: DataFileWriter, entry: TarEntry): void {
  const path = cleanPath(entry.path);
  const name = path.slice(path.lastIndexOf('/') + 1);
  const whiteout = name.startsWith(WHITEOUT_PREFIX);
  const kind: LayerEntryKind = !whiteout ? entry.type : name === OPAQUE_WHITEOUT ? 'opaque' : 'whiteout';
  // The name alone makes an entry a whiteout, whatever its type. The stream still has the contents
  // of a whiteout that is a regular file.
  const page = entry.type === 'file' ? contents.begin(entry.size) : 0;
  index.add({
    kind,
    path: whiteout ? whiteoutTarget(path, name) : path,
    link: whiteout ? '' : linkOf(entry, path),
    mode: entry.mode,
    uid: ownerOf(entry.uid),
    gid: ownerOf(entry.gid),
    mtime: entry.mtime,
    size: entry.size,
    page,
    device: entry.type === 'char' || entry.type === 'block' ? encodeDevice(entry, path) : 0,
    xattrs: entry.xattrs && !whiteout ? checkXattrs(entry.xattrs, path) : null,
  });
}

/**
 * Normalises a path of the archive: no `.`, `..` or double slashes, and all of it inside the root.
 * `/../a//./b/../c` becomes `a/c`. The merge resolves symbolic links.
 *
 * @throws ImageError `too-large`, `corrupt`
 */
export function cleanPath(path: string): string {
  if (path.length > MAX_PATH_BYTES) {
    throw new ImageError('too-large', `the layer has a name of ${path.length} bytes; the limit is ${MAX_PATH_BYTES}`);
  }
  if (path.includes('\0')) throw new ImageError('corrupt', 'the layer has a name with a NUL in it');
  const components: string[] = [];
  for (const component of path.split('/')) {
    if (component === '' || component === '.') continue;
    if (component === '..') {
      components.pop();
      continue;
    }
    // A whiteout's name is longer than the name that it removes.
    const most = MAX_NAME_BYTES + (component.startsWith(WHITEOUT_PREFIX) ? WHITEOUT_PREFIX.length : 0);
    if (component.length > most) {
      throw new ImageError(
        'too-large',
        `the layer has a name of ${component.length} bytes; the limit is ${MAX_NAME_BYTES}`,
      );
    }
    components.push(component);
  }
  if (components.length > MAX_DEPTH) {
    throw new ImageError(
      'too-large',
      `the layer has a path of ${components.length} directories; the limit is ${MAX_DEPTH}`,
    );
  }
  return components.join('/');
}

function whiteoutTarget(path: string, name: string): string {
  const parent = path.slice(0, path.length - name.length);
  if (name === OPAQUE_WHITEOUT) return parent.slice(0, -1);
  const target = name.slice(WHITEOUT_PREFIX.length);
  if (target === '' || target === '.' || target === '..') {
    throw new ImageError('corrupt', `the layer has a whiteout that names nothing: ${printable(path)}`);
  }
  return parent + target;
}

function linkOf(entry: TarEntry, path: string): string {
  if (entry.type === 'link') return cleanPath(entry.linkname);
  if (entry.type !== 'symlink') return '';
  const length = entry.linkname.length;
  // The kernel's limit includes the NUL at the end.
  if (length === 0 || length >= MAX_PATH_BYTES || entry.linkname.includes('\0')) {
    throw new ImageError('corrupt', `the layer has a symbolic link with a bad target: ${printable(path)}`);
  }
  return entry.linkname;
}

/**
 * chown(2) reads the highest ID as "leave unchanged". An unpacker creates files as root, so such a
 * file is root's.
 */
function ownerOf(id: number): number {
  return id === 0xffffffff ? 0 : id;
}

/** A device number in the format of Linux's new_encode_dev(): 12 bits of major, 20 of minor. */
function encodeDevice({ devMajor, devMinor }: TarEntry, path: string): number {
  if (devMajor < 0 || devMajor > 0xfff || devMinor < 0 || devMinor > 0xfffff) {
    throw new ImageError(
      'corrupt',
      `the layer has a device out of range (${devMajor}:${devMinor}): ${printable(path)}`,
    );
  }
  return ((devMinor & 0xff) | (devMajor << 8) | ((devMinor & ~0xff) << 12)) >>> 0;
}

function checkXattrs(xattrs: Map<string, Buffer>, path: string): Map<string, Buffer> | null {
  let total = 0;
  const kept = new Map<string, Buffer>();
  for (const [name, value] of xattrs) {
    if (IGNORED_XATTRS.test(name)) continue;
    total += name.length + value.length;
    const over = (bytes: number, limit: number, what: string): void => {
      if (bytes <= limit) return;
      throw new ImageError('too-large', `${what} of ${bytes} bytes; the limit is ${limit}: ${printable(path)}`);
    };
    over(name.length, MAX_NAME_BYTES, "an extended attribute's name");
    over(value.length, MAX_XATTR_VALUE_BYTES, 'an extended attribute');
    over(total, MAX_XATTR_BYTES, 'extended attributes');
    kept.set(name, value);
  }
  return kept.size > 0 ? kept : null;
}

/**
 * A name of bytes as text for a message. Bytes other than printable ASCII are escaped, and a long
 * name is cut.
 */
export function printable(path: string): string {
  const shown = path.length > 200 ? `${path.slice(0, 200)}...` : path;
  return shown.replace(/[^\x20-\x7e]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`) || '/';
}
