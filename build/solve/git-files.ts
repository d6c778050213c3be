// The repositories that ADD names. A Dockerfile may be a stranger's, so they come from the public
// Internet alone, unless the user's settings say otherwise.
import type { BuildStore, LayerTree } from '../../images/build.js';
import { BuildError } from '../build-error.js';
import { checkReach, fetchFiles, findCommit } from '../git/fetch.js';
import type { Commit } from '../git/repository.js';
import { COMMIT, type GitSource } from '../git/source.js';
import type { RemoteOptions } from './remote.js';

export interface GitOptions extends RemoteOptions {
  store: BuildStore;
  keepsGit: boolean;
  /** Path of the socket of an SSH agent. */
  agent: string | undefined;
}

/** The files of a commit, fetched when they are asked for, once. */
export class GitFiles {
  readonly #source: GitSource;
  readonly #checksum: string | undefined;
  readonly #options: GitOptions;
  #commit: Promise<Commit> | undefined;

  /**
   * @param checksum the ID of the commit, or of a tag that leads to it
   * @throws BuildError `bad-dockerfile`, `bad-option`
   */
  constructor(source: GitSource, checksum: string | undefined, options: GitOptions) {
    this.#source = source;
    this.#checksum = checksum?.toLowerCase();
    this.#options = options;
    checkReach(source, options.agent);
    if (options.network === 'none') {
      throw new BuildError('bad-option', `cannot fetch ${source.shown}: the network of this build is none`);
    }
    if (this.#checksum !== undefined && !COMMIT.test(this.#checksum)) {
      throw new BuildError('bad-dockerfile', `invalid --checksum: ${checksum}: expected the whole ID of a commit`);
    }
  }

  /** Of the contents, for the cache. */
  async hash(): Promise<unknown> {
    const { id } = await this.#find();
    const { shown, folder } = this.#source;
    return [shown, id, folder, this.#options.keepsGit];
  }

  async open(): Promise<LayerTree> {
    const { cache, store } = this.#options;
    const layer = await fetchFiles(this.#source, await this.#find(), this.#how(), (tar) => cache.unpack(tar));
    return store.tree([layer]);
  }

  #find(): Promise<Commit> {
    this.#commit ??= this.#checked();
    return this.#commit;
  }

  async #checked(): Promise<Commit> {
    const commit = await findCommit(this.#source, this.#how());
    const expected = this.#checksum;
    if (expected === undefined || expected === commit.id || expected === commit.tag) return commit;
    throw new BuildError('bad-context', `${this.#source.shown}: the commit is ${commit.id}, not as --checksum says`);
  }

  #how() {
    const { cache, keepsGit, agent, signal } = this.#options;
    return { steps: cache, isNamed: false, keepsGit, agent, signal };
  }
}
