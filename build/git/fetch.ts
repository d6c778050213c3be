// Fetches a repository, within the limits of a build, as the tar of a layer.
import { rmSync } from 'node:fs';
import { within } from '../../deadline/index.js';
import {
  type BuildSteps,
  ImageError,
  ReachProxy,
  readSettings,
  type Settings,
  strangersAddress,
} from '../../images/build.js';
import { BuildError } from '../build-error.js';
import { ContextTree } from '../context/context-tree.js';
import { IgnoreRules } from '../context/ignore.js';
import { DEFAULT_AGENT } from '../dockerfile/mount.js';
import { DOWNLOAD_DEADLINE, MAX_DOWNLOAD_BYTES } from '../limits.js';
import { copyEntries, EMPTY } from '../solve/copy.js';
import { layerTar } from '../solve/layer-tar.js';
import { noAgent } from '../ssh/agents.js';
import { GitError, type SshAccess } from './program.js';
import { type Commit, folderOf, Repository } from './repository.js';
import { COMMIT, type GitSource } from './source.js';

export interface FetchOptions {
  /** The workspace of the build. */
  steps: Pick<BuildSteps, 'folder'>;
  /** The user has named the server, which may be anywhere. False: a Dockerfile has. */
  isNamed: boolean;
  keepsGit: boolean;
  /** Path of the socket of an SSH agent, for a server that a Dockerfile has named. */
  agent?: string | undefined;
  signal: AbortSignal;
}

const NO_RULES = new IgnoreRules();
/** `HOST[:PORT]` of a server of ssh: an address of IPv6 in brackets, or a name or address. */
const SSH_HOST = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9_][a-z0-9_.-]*))(?::(\d{1,5}))?$/;

/** Opens a repository while `act` runs. Afterwards its folder is gone. */
async function withRepository<T>(
  source: GitSource,
  { steps, isNamed, keepsGit, agent, signal }: FetchOptions,
  act: (repository: Repository, folder: string) => Promise<T>,
): Promise<T> {
  const settings = readSettings();
  const named = isNamed && isWeb(source) ? source.host : undefined;
  using proxy = await ReachProxy.open({ settings, named, maxBytes: MAX_DOWNLOAD_BYTES });
  const folder = steps.folder();
  const bounded = within(DOWNLOAD_DEADLINE, signal);
  try {
    const { ca, insecure } = settings.of(source.host);
    const trust = trustOf(`http.https://${source.host}/`, ca, insecure);
    const ssh = isNamed || isWeb(source) ? undefined : await sshAccess(source, agent, settings);
    const checkout = { keepsGit, signal: bounded, proxy: proxy.url, ssh, settings: trust };
    return await act(await Repository.init(folder, source, checkout), folder);
  } catch (error) {
    signal.throwIfAborted();
    const fail = (why: string) =>
      new BuildError('bad-context', `cannot fetch ${source.shown}: ${why}`, { cause: error });
    if (bounded.aborted) throw fail(`it took longer than ${DOWNLOAD_DEADLINE / 1000} seconds`);
    if (error instanceof GitError) throw fail(proxy.refusal?.message ?? error.message);
    if (error instanceof ImageError && error.code === 'network') throw fail(error.message);
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The authorities of servers: the system's, or a file of the user's for one server. */
function trustOf(section: string, ca: string | null, insecure: boolean): [string, string][] {
  const { SSL_CERT_FILE } = process.env;
  const found: [string, string][] = SSL_CERT_FILE ? [['http.sslCAInfo', SSL_CERT_FILE]] : [];
  if (ca !== null) found.push([`${section}.sslCAInfo`, ca]);
  if (insecure) found.push([`${section}.sslVerify`, 'false']);
  return found;
}

function isWeb({ scheme }: GitSource): boolean {
  return scheme === 'https' || scheme === 'http';
}

/** How a server of ssh is reached that a Dockerfile has named. */
async function sshAccess(source: GitSource, agent: string | undefined, settings: Settings): Promise<SshAccess> {
  const [, bracketed, bare, port = '22'] = SSH_HOST.exec(source.host) ?? [];
  const name = bracketed ?? bare;
  if (agent === undefined || name === undefined) throw unreachable(source);
  const address = await strangersAddress(name, source.host, settings);
  return { agent, address, alias: port === '22' ? name : `[${name}]:${port}` };
}

/**
 * @param agent path of the socket of an SSH agent
 * @throws BuildError `bad-dockerfile` for what a Dockerfile may not name, `bad-option`
 */
export function checkReach(source: GitSource, agent: string | undefined): void {
  if (!isWeb(source) && (agent === undefined || !isSsh(source))) throw unreachable(source);
}

function isSsh({ scheme, host }: GitSource): boolean {
  return scheme === 'ssh' && SSH_HOST.test(host);
}

function unreachable(source: GitSource): BuildError {
  if (!isSsh(source)) {
    return new BuildError('bad-dockerfile', `ADD takes a repository by https, http or ssh, not ${source.shown}`);
  }
  return new BuildError('bad-option', `cannot fetch ${source.shown}: ${noAgent(DEFAULT_AGENT).message}`);
}

/**
 * Asks the server which commit the source means.
 *
 * @throws BuildError `bad-context`; ImageError; the reason of the signal
 */
export async function findCommit(source: GitSource, options: FetchOptions): Promise<Commit> {
  if (source.ref !== undefined && COMMIT.test(source.ref)) return { id: source.ref, name: undefined };
  return await withRepository(source, options, (repository) => repository.resolve(source.ref));
}

/**
 * Fetches the files of a source, and passes them on as the tar of a layer. All belong to root, and
 * have the time of the commit.
 *
 * @param commit Undefined: what the server says
 * @throws BuildError `bad-context`, `too-large`; ImageError; the reason of the signal; errors of `take`
 */
export async function fetchFiles<T>(
  source: GitSource,
  commit: Commit | undefined,
  options: FetchOptions,
  take: (tar: AsyncIterable<Buffer>) => Promise<T>,
): Promise<T> {
  return await withRepository(source, options, async (repository, folder) => {
    const seconds = await repository.checkOut(commit ?? (await repository.resolve(source.ref)));
    using tree = new ContextTree(folderOf(folder, source.folder, source.shown), NO_RULES);
    const time = { seconds, nanoseconds: 0 };
    const how = { owner: undefined, mode: undefined, now: time, parents: false, excludes: NO_RULES };
    const entries = copyEntries(tree.root, EMPTY, { ...how, sources: ['/'], destination: '/' });
    return await take(layerTar(entries, (inode) => tree.read(inode), time));
  });
}
