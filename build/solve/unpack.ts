// What ADD does with an archive: its entries, one after the other, as tar would unpack them at the
// destination. An entry replaces what has its name, except that directories stay and get the
// entry's metadata. Links on the way to an entry lead nowhere out of the root.
import {
  BLOCK_SIZE,
  type BuildSteps,
  type BuildStore,
  beginsTar,
  decompress,
  ImageError,
  type Inode,
  type LayerEntry,
} from '../../images/build.js';
import { BuildError } from '../build-error.js';
import { archiveFault, checkExpansion } from '../context/archive-fault.js';
import { type CopyEntry, type LayerEntries, shownPath } from './layer-entries.js';

/** An archive that was read. */
export interface Archive {
  /** For messages. */
  name: string;
  /** Bytes, as it came. */
  length: number;
  entries(): Iterable<LayerEntry>;
  /** The contents of a regular file. */
  read(entry: LayerEntry): AsyncIterable<Buffer>;
}

type Bytes = () => AsyncIterable<Buffer> | Iterable<Buffer>;

export interface Opening {
  cache: BuildSteps;
  store: BuildStore;
  signal: AbortSignal;
}

/**
 * Opens what ADD unpacks: a tar that has something in it, plain or compressed.
 *
 * @param bytes begins to read the file; called up to twice
 * @returns undefined if it is another file
 * @throws BuildError `bad-context` for a damaged or hostile archive; ImageError; the reason of `signal`
 */
export async function openArchive(
  name: string,
  bytes: Bytes,
  { cache, store, signal }: Opening,
): Promise<Archive | undefined> {
  if (!(await isArchive(stream(bytes, signal)))) return undefined;
  let length = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of stream(bytes, signal)) {
      length += chunk.length;
      yield chunk;
    }
  }
  try {
    const layer = await cache.unpack(counted());
    const tree = store.tree([layer]);
    return {
      ...{ name, length },
      entries: () => store.entries(layer),
      read: (entry) => tree.read(inodeOf(entry)),
    };
  } catch (error) {
    throw archiveFault(`cannot unpack ${name}`, error);
  }
}

async function isArchive(bytes: AsyncIterable<Buffer>): Promise<boolean> {
  let start: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of decompress(bytes, { allowsBzip2: true })) {
      start = start.length === 0 ? chunk : Buffer.concat([start, chunk]);
      if (start.length >= BLOCK_SIZE) break;
    }
  } catch (error) {
    // It only begins as a compressed file does.
    if (error instanceof ImageError && error.code === 'corrupt') return false;
    throw error;
  }
  return beginsTar(start);
}

async function* stream(bytes: Bytes, signal: AbortSignal): AsyncGenerator<Buffer> {
  for await (const chunk of bytes()) {
    signal.throwIfAborted();
    yield chunk;
  }
}

function inodeOf({ kind, ...entry }: LayerEntry): Inode {
  if (kind !== 'file') throw new RangeError('not a file');
  return { ...entry, kind, names: 1, layer: 0, target: '', children: new Map() };
}

/**
 * Owners and modes are the archive's, whatever `--chown` and `--chmod` say.
 * @throws BuildError `bad-context`, `too-large`
 */
export function unpackInto(layer: LayerEntries, archive: Archive, destination: string): void {
  const root = layer.directory(destination);
  let size = 0;
  for (const entry of archive.entries()) {
    const { kind, path, link, uid, gid, mode, mtime, xattrs, device } = entry;
    if (kind === 'whiteout' || kind === 'opaque') continue;
    size += entry.size;
    checkExpansion(`cannot unpack ${archive.name}`, size, archive.length);
    const place = placeOf(layer, root, path);
    const made: CopyEntry = {
      ...{ path: place, kind: kind === 'link' ? 'file' : kind, size: 0, target: '' },
      ...{ mode, uid, gid, mtime, device, xattrs },
    };
    if (kind === 'file') layer.add({ ...made, size: entry.size, contents: () => archive.read(entry) });
    else if (kind === 'symlink') layer.add({ ...made, target: link });
    else if (kind !== 'link') layer.add(made);
    else {
      const other = layer.find(placeOf(layer, root, link), false);
      if (other.kind === undefined || other.kind === 'directory') {
        const what = `the hard link ${shownPath(path)} to ${shownPath(link)}`;
        throw new BuildError('bad-context', `cannot unpack ${archive.name}: ${what}, which is no file`);
      }
      if (other.path !== place) layer.add({ ...made, kind: other.kind, link: other.path });
    }
  }
}

/** The path of an entry: links are followed on the way to it, and directories made. */
function placeOf(layer: LayerEntries, root: string, path: string): string {
  if (path === '') return root;
  const slash = path.lastIndexOf('/');
  const parent = slash < 0 ? root : layer.directory(`${root}/${path.slice(0, slash)}`);
  const name = path.slice(slash + 1);
  return parent === '' ? name : `${parent}/${name}`;
}
