// The files of a commit, with those of its submodules. Nothing is written before its size is known.
import { lstatSync, mkdirSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BuildError } from '../build-error.js';
import { checkExpansion } from '../context/archive-fault.js';
import { MAX_FILES, MAX_IGNORE_BYTES, MAX_SUBMODULES } from '../limits.js';
import { Git, GitError, type GitOptions } from './program.js';
import { COMMIT, type GitSource, parseGitUrl, submoduleUrl } from './source.js';

/** What a reference stands for. */
export interface Commit {
  /** Its whole ID. */
  id: string;
  /** The whole name of the reference. Undefined if the ID itself was given. */
  name: string | undefined;
  /** The ID of the tag, if an annotated one leads to the commit. */
  tag?: string | undefined;
}

/** A submodule, as the tree has it. */
interface Link {
  path: string;
  commit: string;
}

/** Submodules of submodules may be nested this deep. */
const MAX_NESTED = 10;
/** A server that gives no part of a history, or no commit that it does not name. */
const UNSUPPORTED = /shallow|unadvertised|not our ref|does not support|remote error: upload-pack/i;

/** What all repositories of one source have in common. */
export interface Checkout extends Omit<GitOptions, 'folder' | 'source'> {
  keepsGit: boolean;
}

export class Repository {
  readonly #git: Git;
  readonly #checkout: Checkout;

  private constructor(git: Git, checkout: Checkout) {
    this.#git = git;
    this.#checkout = checkout;
  }

  /** @param folder empty */
  static async init(
    folder: string,
    source: Pick<GitSource, 'scheme' | 'url' | 'shown'>,
    checkout: Checkout,
  ): Promise<Repository> {
    const git = new Git({ ...checkout, folder, source });
    await git.run(['init', '-q', '--template=', '.']);
    return new Repository(git, checkout);
  }

  /**
   * Asks the server what a reference is: a branch before a tag, as `git checkout` takes it.
   * @throws BuildError `bad-context`; GitError
   */
  async resolve(ref: string | undefined): Promise<Commit> {
    if (ref !== undefined && COMMIT.test(ref)) return { id: ref, name: undefined };
    const short = ref?.replace(/^refs\//, '');
    const names = short === undefined ? ['HEAD'] : [`refs/heads/${short}`, `refs/${short}`, `refs/tags/${short}`];
    const listed = await this.#git.read(['ls-remote', '-q', 'origin', ...names, ...names.map((name) => `${name}^{}`)]);
    const found = new Map(
      listed.split('\n').map((line) => {
        const [id = '', name = ''] = line.split('\t');
        return [name, id] as const;
      }),
    );
    const name = names.find((each) => COMMIT.test(found.get(each) ?? ''));
    if (name === undefined) {
      throw new BuildError('bad-context', `${this.#git.source.shown} has no ${ref ?? 'default branch'}`);
    }
    const [id = '', peeled] = [found.get(name), found.get(`${name}^{}`)];
    return peeled !== undefined && COMMIT.test(peeled) ? { id: peeled, name, tag: id } : { id, name };
  }

  /**
   * Fetches a commit and writes its files.
   * @param all counts the submodules of the whole source
   * @param depth of this repository in it
   * @returns its time, in seconds since 1970
   */
  async checkOut(commit: Commit, all = { modules: 0 }, depth = 0): Promise<number> {
    await this.#fetch(commit);
    const links = await this.#measure(commit.id);
    await this.#git.run(['checkout', '-q', '--force', '--detach', commit.id]);
    const time = Number(await this.#git.read(['show', '-s', '--format=%ct', commit.id]));
    await this.#submodules(links, commit.id, all, depth);
    const folder = join(this.#git.folder, '.git');
    if (this.#checkout.keepsGit) await this.#git.run(['config', 'remote.origin.url', this.#git.source.shown]);
    else rmSync(folder, { recursive: true });
    return time;
  }

  async #fetch({ id, name }: Commit): Promise<void> {
    const fetch = ['fetch', '-q', '--no-tags', '--no-write-fetch-head', 'origin'];
    const what = name === undefined ? [id] : [`+${name}:${keptName(name)}`];
    try {
      await this.#git.run([...fetch, '--depth=1', ...what]);
    } catch (error) {
      if (!(error instanceof GitError) || !UNSUPPORTED.test(error.message)) throw error;
      const all = ['+refs/heads/*:refs/remotes/origin/*', '+refs/tags/*:refs/tags/*'];
      await this.#git.run([...fetch, ...(name === undefined ? all : what)]);
    }
    const { shown } = this.#git.source;
    const got = await this.#git.read([
      'rev-parse',
      '-q',
      '--verify',
      `${name === undefined ? id : keptName(name)}^{commit}`,
    ]);
    if (got.trim() !== id) throw new BuildError('bad-context', `${shown} changed while it was fetched: build again`);
  }

  /**
   * Bounds what a checkout would write.
   * @returns the submodules
   */
  async #measure(commit: string): Promise<Link[]> {
    const { shown } = this.#git.source;
    const links: Link[] = [];
    const packed = sizeOf(join(this.#git.folder, '.git/objects'));
    let [count, size] = [0, 0];
    const read = (entry: string) => {
      const [, type, id = '', length = '', path = ''] = /^\d+ (\w+) (\w+) +(-|\d+)\t(.*)$/s.exec(entry) ?? [];
      if (++count > MAX_FILES) throw new BuildError('too-large', `${shown} has more than ${MAX_FILES} files`);
      if (type === 'blob') size += Number(length);
      checkExpansion(`cannot check out ${shown}`, size, packed);
      if (type === 'commit') links.push({ path, commit: id });
    };
    let rest = '';
    await this.#git.run(['ls-tree', '-r', '-t', '-l', '-z', '--full-tree', commit], (chunk) => {
      const entries = (rest + chunk.toString()).split('\0');
      rest = entries.pop() ?? '';
      for (const entry of entries) read(entry);
    });
    return links;
  }

  /** As `git submodule update --init --recursive`, with the bounds of this build. */
  async #submodules(links: readonly Link[], commit: string, all: { modules: number }, depth: number): Promise<void> {
    if (links.length === 0) return;
    const { shown } = this.#git.source;
    all.modules += links.length;
    if (all.modules > MAX_SUBMODULES || depth >= MAX_NESTED) {
      const most = `${MAX_SUBMODULES} submodules, or nests them deeper than ${MAX_NESTED}`;
      throw new BuildError('too-large', `${shown} has more than ${most}`);
    }
    const listed = await this.#listed(commit);
    for (const { path, commit } of links) {
      const { url, update } = listed.get(path) ?? {};
      if (update === 'none') continue;
      if (url === undefined) throw new BuildError('bad-context', `${shown}: .gitmodules has no URL of ${path}`);
      const source = this.#submodule(path, url);
      const folder = makeFolder(this.#git.folder, path);
      if (folder === undefined || readdirSync(folder).length > 0) {
        throw new BuildError('bad-context', `${shown}: the submodule ${path} is no folder of its own`);
      }
      const repository = await Repository.init(folder, source, this.#checkout);
      await repository.checkOut({ id: commit, name: undefined }, all, depth + 1);
    }
  }

  /** What `.gitmodules` of a commit says, by the paths of submodules. */
  async #listed(commit: string): Promise<Map<string, { url?: string; update?: string }>> {
    const blob = `${commit}:.gitmodules`;
    const size = Number(await this.#git.read(['cat-file', '-s', blob]));
    if (size > MAX_IGNORE_BYTES) throw new BuildError('too-large', `.gitmodules exceeds ${MAX_IGNORE_BYTES} bytes`);
    const names = new Map<string, Record<string, string>>();
    // What a stranger includes would be a file of this host.
    const listed = await this.#git.read(['config', '--blob', blob, '--no-includes', '--list', '-z']);
    for (const entry of listed.split('\0')) {
      const [, name, field, value] = /^submodule\.(.*)\.(path|url|update)\n(.*)$/s.exec(entry) ?? [];
      if (name === undefined || field === undefined || value === undefined) continue;
      const fields = names.get(name) ?? {};
      names.set(name, { ...fields, [field]: value });
    }
    return new Map([...names.values()].flatMap(({ path, ...rest }) => (path === undefined ? [] : [[path, rest]])));
  }

  /**
   * A submodule comes over https or http, which the proxy looks at, or from the server of its parent:
   * a repository of a stranger leads nowhere else.
   */
  #submodule(path: string, url: string): Pick<GitSource, 'scheme' | 'url' | 'shown'> {
    const { source } = this.#git;
    const found = parseGitUrl(submoduleUrl(source.url, url));
    const isWeb = found?.scheme === 'https' || (found?.scheme === 'http' && source.scheme === 'http');
    const isSame = found?.scheme === source.scheme && found.host === parseGitUrl(source.url)?.host;
    if (found !== undefined && (isWeb || isSame)) return found;
    const said = JSON.stringify(url.replace(/\/\/[^/@]*@/, '//'));
    throw new BuildError('bad-context', `${source.shown}: the submodule ${path} is at ${said}, which is refused`);
  }
}

/** The name that a reference has in a clone. */
function keptName(name: string): string {
  if (name === 'HEAD') return 'refs/remotes/origin/HEAD';
  return name.replace(/^refs\/heads\//, 'refs/remotes/origin/');
}

/**
 * Makes a folder of a tree, whose names may lead out of it.
 * @returns undefined if it is none of the tree's own
 */
function makeFolder(root: string, path: string): string | undefined {
  let folder = root;
  for (const name of path.split('/')) {
    if (name === '' || name === '.' || name === '..') return undefined;
    folder = join(folder, name);
    // A link is not followed: what it leads to is not looked at, and nothing is made there.
    const status = lstatSync(folder, { throwIfNoEntry: false });
    if (status === undefined) mkdirSync(folder);
    else if (!status.isDirectory()) return undefined;
  }
  return folder;
}

function sizeOf(folder: string): number {
  let size = 0;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const status = lstatSync(path);
    size += status.isDirectory() ? sizeOf(path) : status.size;
  }
  return size;
}

/**
 * The path of a folder of a repository. Links in it may lead to it.
 * @throws BuildError `bad-context`
 */
export function folderOf(root: string, folder: string, shown: string): string {
  const place = realpathSync(root);
  let found: string | undefined;
  try {
    found = realpathSync(join(place, folder));
  } catch {
    found = undefined;
  }
  if (found === undefined || !(found === place || found.startsWith(`${place}/`)) || !statSync(found).isDirectory()) {
    throw new BuildError('bad-context', `${shown} has no folder ${folder}`);
  }
  return found;
}
