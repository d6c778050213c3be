// The layer of a RUN, as the guest's agent writes it, without what only the machine has made: places
// for its mounts, and the times of directories in which they are.
import {
  END_MARK,
  entryHeader,
  filePadding,
  type Inode,
  resolvePath,
  type TarEntry,
  TarReader,
  type Timestamp,
} from '../../images/build.js';

/** Files and directories of the root that a machine makes if the image lacks them. */
const PLACES = new Set(['etc/hosts', 'etc/resolv.conf', 'etc/hostname', 'dev', 'proc', 'sys', 'etc']);

/** A directory that is written once something in it is, and the mark that it hides what is below. */
interface Pending {
  /** Of the directory. */
  path: string;
  entry: TarEntry;
}

export interface FilterOptions {
  /** Paths that the machine may have made, apart from `PLACES`: those of mounts. */
  places: ReadonlySet<string>;
  /** A name in the root that is left out. */
  hidden: string;
  /** Times after it become it. Undefined: times stay. */
  latest: Timestamp | undefined;
}

/**
 * Filters a layer.
 * @param below the files under the layer
 * @throws ImageError for a damaged tar
 */
export async function* filterLayer(
  tar: AsyncIterable<Buffer>,
  below: Inode,
  { places, hidden, latest }: FilterOptions,
): AsyncGenerator<Buffer> {
  const filter = new LayerFilter(below, { places: new Set([...PLACES, ...places]), hidden, latest });
  const reader = new TarReader(filter);
  for await (const chunk of tar) {
    reader.write(chunk);
    yield* filter.take();
  }
  reader.end();
  filter.end();
  yield* filter.take();
  yield END_MARK;
}

class LayerFilter {
  readonly #below: Inode;
  readonly #options: FilterOptions;
  #output: Buffer[] = [];
  #pending: Pending[] = [];
  /** Bytes of the current file that were written, and its size. Undefined: the file is left out. */
  #file: { at: number; size: number } | undefined;

  constructor(below: Inode, options: FilterOptions) {
    this.#below = below;
    this.#options = options;
  }

  take(): Buffer[] {
    const output = this.#output;
    this.#output = [];
    return output;
  }

  entry(entry: TarEntry): void {
    this.#endFile();
    const path = entry.path
      .replace(/^\.?\/+/, '')
      .replace(/\/+$/, '')
      .replace(/^\.$/, '');
    const { places, hidden } = this.#options;
    if (path === hidden || path.startsWith(`${hidden}/`)) return;
    const there = resolvePath(this.#below, path, false)?.inode ?? null;
    this.#pending = this.#pending.filter((above) => above.path === '' || path.startsWith(`${above.path}/`));
    if (entry.type === 'directory') {
      const isUntouched = there?.kind === 'directory' && hasSame(there, entry);
      const isPlace = there === null && places.has(path);
      if (isUntouched || isPlace) {
        this.#pending.push({ path, entry });
        return;
      }
    } else if (path === `${this.#pending.at(-1)?.path}/${OPAQUE}`) {
      this.#pending.push({ path: this.#pending.at(-1)!.path, entry });
      return;
    } else if (there === null && places.has(path) && entry.type === 'file' && entry.size === 0) return;
    for (const { entry: above } of this.#pending) this.#header(above);
    this.#pending = [];
    this.#header(entry);
    if (entry.type === 'file') this.#file = { at: 0, size: entry.size };
  }

  data(offset: number, bytes: Buffer): void {
    if (this.#file === undefined) return;
    this.#zeros(offset - this.#file.at);
    this.#output.push(Buffer.from(bytes));
    this.#file.at = offset + bytes.length;
  }

  end(): void {
    this.#endFile();
  }

  #endFile(): void {
    if (this.#file === undefined) return;
    this.#zeros(this.#file.size - this.#file.at);
    this.#output.push(filePadding(this.#file.size));
    this.#file = undefined;
  }

  #zeros(count: number): void {
    for (let left = count; left > 0; left -= ZEROS.length)
      this.#output.push(ZEROS.subarray(0, Math.min(left, ZEROS.length)));
  }

  #header(entry: TarEntry): void {
    const { latest } = this.#options;
    const isLater = latest !== undefined && entry.mtime.seconds >= latest.seconds;
    this.#output.push(entryHeader(isLater ? { ...entry, mtime: latest } : entry));
  }
}

/** A directory that a process has made has it: OCI image-spec 1.1, layer.md, "Opaque Whiteout". */
const OPAQUE = '.wh..wh..opq';
const ZEROS = Buffer.alloc(64 * 1024);

/** True if all but the time is the same. */
function hasSame(inode: Inode, { mode, uid, gid, xattrs }: TarEntry): boolean {
  const own = inode.xattrs ?? new Map<string, Buffer>();
  const other = xattrs ?? new Map<string, Buffer>();
  return (
    inode.mode === mode &&
    inode.uid === uid &&
    inode.gid === gid &&
    own.size === other.size &&
    [...own].every(([name, value]) => other.get(name)?.equals(value) === true)
  );
}
