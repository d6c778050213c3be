// --build-context of `tsvm build`, in Docker's form.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ArchiveContext, NamedContext } from '../../../build/index.js';
import { hasCode } from '../../../errors/index.js';
import type { Home } from '../../../sandbox/internal.js';
import { UsageError } from '../../output/errors.js';

/** To be disposed of after the build. */
export interface BuildContexts extends AsyncDisposable {
  named: Map<string, NamedContext>;
}

interface Options {
  home: Home;
  /** A context of git keeps its `.git`. */
  keepsGit: boolean;
  signal: AbortSignal;
}

/**
 * Reads `NAME=DIR`, `NAME=URL`, `NAME=docker-image://IMAGE` and `NAME=oci-layout://DIR[:TAG]`. What is
 * at a URL is fetched.
 * @throws UsageError, BuildError, ImageError; the reason of `signal`
 */
export async function openContexts(given: readonly string[], options: Options): Promise<BuildContexts> {
  const words = await parseContexts(given);
  const archives: ArchiveContext[] = [];
  const named = new Map<string, NamedContext>();
  const contexts = {
    named,
    async [Symbol.asyncDispose]() {
      for (const archive of archives) await archive[Symbol.asyncDispose]();
    },
  };
  try {
    for (const [key, { value, fail }] of words) {
      const url = await urlOf(value);
      if (url === undefined) {
        named.set(key, await contextOf(value, fail));
        continue;
      }
      const archive = await fetchArchive(url, options);
      archives.push(archive);
      named.set(key, { is: 'folder', files: archive, ignore: await ignoreIn(archive) });
    }
    return contexts;
  } catch (error) {
    await contexts[Symbol.asyncDispose]();
    throw error;
  }
}

type Fail = (why: string) => never;

async function parseContexts(given: readonly string[]): Promise<Map<string, { value: string; fail: Fail }>> {
  const { contextKey } = await import('../../../build/index.js');
  const words = new Map<string, { value: string; fail: Fail }>();
  for (const text of given) {
    const fail = (why: string): never => {
      throw new UsageError(`invalid argument '${text}' for --build-context: ${why}`);
    };
    const [name = '', value] = text.split(/=(.*)/s, 2);
    if (value === undefined || value === '') return fail('expected NAME=CONTEXT');
    const key = contextKey(name) ?? fail(`invalid context name ${name}`);
    if (words.has(key)) fail(`the name ${name} was given twice`);
    words.set(key, { value, fail });
  }
  return words;
}

/** The URL that a context is fetched from. Undefined for a folder, an image or a layout. */
async function urlOf(value: string): Promise<string | undefined> {
  if (/^(docker-image|oci-layout):/i.test(value) || existsSync(value)) return undefined;
  const { isRemote, githubSource } = await import('../../../build/index.js');
  return isRemote(value) ? value : githubSource(value);
}

async function fetchArchive(url: string, { home, keepsGit, signal }: Options): Promise<ArchiveContext> {
  const { BuildError, readUrl } = await import('../../../build/index.js');
  const found = await readUrl(home, url, { keepsGit, signal });
  if (typeof found !== 'string') return found;
  throw new BuildError('bad-context', 'a named context at a URL is an archive, or a repository');
}

async function contextOf(value: string, fail: Fail): Promise<NamedContext> {
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(value) ?? [];
  if (scheme === 'docker-image') {
    const { contextKey } = await import('../../../build/index.js');
    return contextKey(rest) === undefined ? fail(`invalid image name ${rest}`) : { is: 'image', reference: rest };
  }
  if (scheme === 'oci-layout') {
    if (rest === '' || rest.includes('@')) fail('expected oci-layout://DIR[:TAG]');
    return { is: 'image', reference: `oci:${rest}` };
  }
  if (!statSync(value, { throwIfNoEntry: false })?.isDirectory()) fail(`${value} is not a folder`);
  return { is: 'folder', files: value, ignore: await ignoreOf(join(value, '.dockerignore')) };
}

async function ignoreIn(archive: ArchiveContext) {
  const { MAX_IGNORE_BYTES, parseIgnore } = await import('../../../build/index.js');
  const rules = await archive.file('.dockerignore', MAX_IGNORE_BYTES);
  return rules === undefined ? undefined : parseIgnore(rules, '.dockerignore');
}

async function ignoreOf(path: string) {
  const { parseIgnore } = await import('../../../build/index.js');
  try {
    return parseIgnore(readFileSync(path), path);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
