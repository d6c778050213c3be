// A context at a URL that the user has written: a file, or a repository of git.
import { buildStore } from '../../images/build.js';
import type { Home } from '../../sandbox/index.js';
import { BuildError } from '../build-error.js';
import { ArchiveContext } from '../context/archive-context.js';
import { fetchFile, fileUrl } from '../context/remote.js';
import { readStream } from '../context/standard-input.js';
import { fetchFiles } from './fetch.js';
import { parseGitSource } from './source.js';

/**
 * Reads a context at a URL. Its server may be anywhere, and leads no nearer to this host than it is.
 *
 * @param keepsGit a repository keeps its `.git`
 * @returns as `readStream`
 * @throws BuildError `bad-option`, `bad-context`, `too-large`; ImageError; the reason of `signal`
 */
export async function readUrl(
  home: Home,
  source: string,
  { keepsGit, signal }: { keepsGit: boolean; signal: AbortSignal },
): Promise<ArchiveContext | string> {
  const git = parseGitSource(source);
  if (git !== undefined) {
    await using steps = await buildStore(home.path).begin();
    const options = { steps, isNamed: true, keepsGit, signal };
    return await fetchFiles(git, undefined, options, (tar) => ArchiveContext.open(home, tar));
  }
  const url = fileUrl(source);
  if (url === undefined) {
    const message =
      'a context is a folder, -, a URL of http or https, or a repository: https://HOST/NAME.git[#REF[:FOLDER]]';
    throw new BuildError('bad-option', message);
  }
  return await fetchFile(url, { reach: 'host', signal }, ({ bytes }) => readStream(home, bytes));
}
