// A build context that is an archive. It is unpacked into the store as a layer that goes with the
// build, and seen as a folder would be: without what `.dockerignore` names, and owned by root.
import { type BuildStore, buildStore, type Inode, type LayerTree, resolvePath } from '../../images/build.js';
import type { Home } from '../../sandbox/index.js';
import { BuildError } from '../build-error.js';
import { MAX_DEPTH, MAX_FILES } from '../limits.js';
import { archiveFault, checkExpansion } from './archive-fault.js';
import type { ContextFiles } from './context-files.js';
import type { IgnoreRules, RuleState } from './ignore.js';

const READING = 'cannot read the context';

export class ArchiveContext implements AsyncDisposable {
  readonly #tree: LayerTree;
  readonly #unpacked: AsyncDisposable;

  private constructor(tree: LayerTree, unpacked: AsyncDisposable) {
    this.#tree = tree;
    this.#unpacked = unpacked;
  }

  /**
   * Unpacks a tar: plain, or compressed with gzip, xz, zstd or bzip2.
   *
   * @throws BuildError `bad-context` for a damaged archive, `too-large`; ImageError; errors of `bytes`
   */
  static async open(home: Home, bytes: AsyncIterable<Buffer>): Promise<ArchiveContext> {
    const store = buildStore(home.path);
    const steps = await store.begin();
    let length = 0;
    async function* counted(): AsyncGenerator<Buffer> {
      for await (const chunk of bytes) {
        length += chunk.length;
        yield chunk;
      }
    }
    try {
      const layer = await steps.unpack(counted());
      checkSizes(store, layer, length);
      const tree = store.tree([layer]);
      return new ArchiveContext(tree, steps);
    } catch (error) {
      await steps[Symbol.asyncDispose]();
      throw archiveFault(READING, error);
    }
  }

  /**
   * The contents of a file; undefined if there is none. Links lead nowhere out of the archive.
   *
   * @param most bytes
   * @throws BuildError `too-large`
   */
  async file(path: string, most: number): Promise<Buffer | undefined> {
    const inode = resolvePath(this.#tree.root, Buffer.from(path).toString('latin1'))?.inode;
    if (inode?.kind !== 'file') return undefined;
    if (inode.size > most) throw new BuildError('too-large', `${path} of the context exceeds ${most} bytes`);
    const chunks: Buffer[] = [];
    for await (const chunk of this.#tree.read(inode)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** @throws BuildError `bad-context`, `too-large` */
  files(rules: IgnoreRules): ContextFiles {
    const seen = new SeenFiles(rules);
    const root = seen.see(this.#tree.root, '', rules.root);
    return {
      root,
      pathOf: (inode) => seen.found.get(inode)?.path,
      read: (inode) => {
        const found = seen.found.get(inode);
        if (found === undefined) throw new RangeError('an inode of another tree');
        return this.#tree.read(found.inode);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#unpacked[Symbol.asyncDispose]();
  }
}

function checkSizes(store: BuildStore, layer: string, length: number): void {
  let size = 0;
  for (const entry of store.entries(layer)) {
    size += entry.size;
    checkExpansion(READING, size, length);
  }
}

/** The part of a tree that `.dockerignore` leaves. */
class SeenFiles {
  /** What each inode is made of, and its path. */
  readonly found = new Map<Inode, { path: string; inode: Inode }>();
  readonly #rules: IgnoreRules;
  readonly #links = new Map<Inode, Inode>();

  constructor(rules: IgnoreRules) {
    this.#rules = rules;
  }

  see(inode: Inode, path: string, state: RuleState): Inode {
    if (inode.kind === 'char' || inode.kind === 'block') {
      throw new BuildError('bad-context', `${Buffer.from(path, 'latin1')} in the context is a device`);
    }
    const known = this.#links.get(inode);
    if (known !== undefined) {
      known.names++;
      return known;
    }
    if (this.found.size >= MAX_FILES) {
      throw new BuildError('too-large', `the context has more than ${MAX_FILES} files: exclude some in .dockerignore`);
    }
    if (path.split('/').length > MAX_DEPTH) {
      throw new BuildError('too-large', `the context is deeper than ${MAX_DEPTH} directories`);
    }
    // A root without an entry has the mode of a new directory.
    const seen: Inode = { ...inode, uid: 0, gid: 0, names: 1, xattrs: null, children: new Map() };
    this.found.set(seen, { path, inode });
    if (inode.kind !== 'directory') this.#links.set(inode, seen);
    for (const [name, child] of inode.children) {
      const childPath = path === '' ? name : `${path}/${name}`;
      const { isIgnored, state: childState } = this.#rules.check(childPath, state);
      const mayHold = child.inode.kind === 'directory' && this.#rules.hasExceptions;
      if (isIgnored && !mayHold) continue;
      const made = this.see(child.inode, childPath, childState);
      // An ignored directory is there for what is seen in it.
      if (isIgnored && made.children.size === 0) continue;
      seen.children.set(name, { inode: made, layer: 0 });
    }
    return seen;
  }
}
