// A repository of git, as Docker's reference writes it: `https://HOST/x.git#REF:FOLDER`, and the
// same with `git://`, `ssh://` and `git@HOST:x`.
import { BuildError } from '../build-error.js';

export type GitScheme = 'https' | 'http' | 'git' | 'ssh';

export interface GitSource {
  scheme: GitScheme;
  /** As git takes it, with a password if it has one. */
  url: string;
  /** Without a password. */
  shown: string;
  /** In lower case, with `:PORT` if the URL has one. */
  host: string;
  /** A branch, a tag, a name below `refs/` or a whole commit ID. Undefined: the default branch. */
  ref: string | undefined;
  /** A folder of the repository, without `.` and `..`. '' for all of it. */
  folder: string;
}

/** `USER@HOST:PATH`, as ssh and scp have it. */
const SCP = /^([a-z0-9_][a-z0-9_.-]*)@([a-z0-9][a-z0-9.-]*|\[[0-9a-f:]+\]):(?!\/\/)(.+)$/i;
/** The whole ID of an object: SHA-1 or SHA-256. */
export const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/**
 * Reads the address of a repository.
 *
 * @returns undefined if it is no repository's
 * @throws BuildError `bad-option` for one that is wrong
 */
export function parseGitSource(text: string): GitSource | undefined {
  const [address = '', fragment = ''] = text.split(/#(.*)/s, 2);
  const found = parseGitUrl(address);
  if (found === undefined) return undefined;
  if (/^https?$/.test(found.scheme) && !new URL(address).pathname.endsWith('.git')) return undefined;
  const [ref = '', folder = ''] = fragment.split(/:(.*)/s, 2);
  return { ...found, ref: ref === '' ? undefined : checkedRef(ref, text), folder: checkedFolder(folder, text) };
}

/** `github.com/OWNER/NAME`, which is a repository where no folder of this path is. */
export function githubSource(text: string): string | undefined {
  return /^github\.com\/[^/]/.test(text) ? `https://${text.replace(/(?:\.git)?(#.*)?$/s, '.git$1')}` : undefined;
}

/** The URL of a repository alone: git's own forms except paths and programs. */
export function parseGitUrl(url: string): Omit<GitSource, 'ref' | 'folder'> | undefined {
  // What git, ssh or a terminal would take for something else.
  if (/[\0-\x20\x7f]/.test(url)) return undefined;
  const [, , host, path = ''] = SCP.exec(url) ?? [];
  if (host !== undefined) {
    if (path.startsWith('-')) return undefined;
    return { scheme: 'ssh', url, shown: url, host: host.toLowerCase() };
  }
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const scheme = parsed?.protocol.slice(0, -1);
  if (parsed === undefined || !isScheme(scheme) || parsed.host === '' || parsed.search !== '') return undefined;
  if (/^-/.test(parsed.hostname) || /^-/.test(decoded(parsed.username))) return undefined;
  const shown = new URL(parsed);
  shown.password = '';
  // The name may be a token.
  if (/^https?$/.test(scheme)) shown.username = '';
  return { scheme, url: parsed.href, shown: shown.href, host: parsed.host.toLowerCase() };
}

function isScheme(text: string | undefined): text is GitScheme {
  return text === 'https' || text === 'http' || text === 'git' || text === 'ssh';
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** As git-check-ref-format(1) has it. */
function checkedRef(ref: string, text: string): string {
  const isWrong =
    ref.length > 255 ||
    /[\0-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|\.lock(?:\/|$)|[./]$/.test(ref) ||
    /(?:^|\/)[.-]|^\/|^@$/.test(ref);
  if (isWrong) throw new BuildError('bad-option', `invalid reference ${JSON.stringify(ref)} in ${shownText(text)}`);
  return ref;
}

function checkedFolder(folder: string, text: string): string {
  const names = folder.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..') || folder.includes('\0') || names[0] === '.git') {
    throw new BuildError('bad-option', `invalid folder ${JSON.stringify(folder)} in ${shownText(text)}`);
  }
  return names.join('/');
}

function shownText(text: string): string {
  return text.replace(/\/\/[^/@]*@/, '//');
}

/** The URL that `url` of a submodule means: `./` and `../` begin at its parent's (git-submodule(1)). */
export function submoduleUrl(parent: string, url: string): string {
  if (!/^\.\.?\//.test(url)) return url;
  let base = parent.replace(/\/+$/, '');
  let rest = url;
  for (;;) {
    if (rest.startsWith('./')) rest = rest.slice(2);
    else if (rest.startsWith('../')) {
      rest = rest.slice(3);
      const at = Math.max(base.lastIndexOf('/'), /:\/\//.test(base) ? -1 : base.lastIndexOf(':'));
      base = base.slice(0, Math.max(0, at));
      // A name after the colon of USER@HOST: has no slash before it.
      if (!/:\/\//.test(base) && !base.includes(':')) return rest === '' ? base : `${base}:${rest}`;
    } else return `${base}/${rest}`;
  }
}
