// Where `tsvm build` has its Dockerfile and its context from: a folder, a URL, and what stdin has.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { addAbortSignal } from 'node:stream';
import type { ArchiveContext, BuildOptions } from '../../../build/index.js';
import { hasCode, messageOf } from '../../../errors/index.js';
import type { Home } from '../../../sandbox/internal.js';
import { readUserFile } from '../../../user-files/index.js';
import { UsageError } from '../../output/errors.js';

/** To be disposed of after the build. */
export interface BuildSource extends AsyncDisposable, Pick<BuildOptions, 'dockerfile' | 'context' | 'ignore'> {
  /** Of the Dockerfile, for messages. */
  name: string;
}

/**
 * Reads the Dockerfile and the rules of `.dockerignore`.
 *
 * @param context path of a folder; a URL; `-` for stdin
 * @param file as `--file` has it
 * @param keepsGit a context of git keeps its `.git`
 * @throws UsageError, BuildError, ImageError; the reason of `signal`
 */
export async function openSource(
  home: Home,
  { context, file, keepsGit }: { context: string; file: string | undefined; keepsGit: boolean },
  signal: AbortSignal,
): Promise<BuildSource> {
  const { isRemote, githubSource, readStream, readUrl } = await import('../../../build/index.js');
  const url = existsSync(context) ? undefined : isRemote(context) ? context : githubSource(context);
  if (url !== undefined) return await streamed(await readUrl(home, url, { keepsGit, signal }), file, 'the URL');
  if (context !== '-') {
    const path = file ?? join(context, 'Dockerfile');
    const dockerfile = readDockerfile(path);
    const ignore = await readIgnore(ignoreNames(path, context), async (name) => readFileSync(name));
    return { name: nameOf(path), dockerfile, context, ignore, async [Symbol.asyncDispose]() {} };
  }
  if (file === '-') throw new UsageError("invalid argument: can't use stdin for both build context and dockerfile");
  return await streamed(await readStream(home, standardInput(signal)), file, 'stdin');
}

/** What a stream has: an archive, or the text of a Dockerfile. */
async function streamed(input: ArchiveContext | string, file: string | undefined, from: string): Promise<BuildSource> {
  if (typeof input !== 'string') return await sourceOf(input, file ?? 'Dockerfile');
  if (file !== undefined) {
    throw new UsageError(`ambiguous Dockerfile source: both ${from} and flag correspond to Dockerfiles`);
  }
  return { name: nameOf('-'), dockerfile: input, context: undefined, async [Symbol.asyncDispose]() {} };
}

/** What an archive has. @param path of the Dockerfile in it; `-` for stdin */
async function sourceOf(context: ArchiveContext, path: string): Promise<BuildSource> {
  const { MAX_DOCKERFILE_BYTES, MAX_IGNORE_BYTES } = await import('../../../build/index.js');
  try {
    const dockerfile = path === '-' ? readDockerfile(path) : await context.file(path, MAX_DOCKERFILE_BYTES);
    if (dockerfile === undefined) throw missing(path);
    const ignore = await readIgnore(ignoreNames(path, ''), (name) => context.file(name, MAX_IGNORE_BYTES));
    return {
      ...{ name: nameOf(path), dockerfile: dockerfile.toString(), context, ignore },
      [Symbol.asyncDispose]: () => context[Symbol.asyncDispose](),
    };
  } catch (error) {
    await context[Symbol.asyncDispose]();
    throw error;
  }
}

async function* standardInput(signal: AbortSignal): AsyncGenerator<Buffer> {
  // A sender that never ends must not keep the build from being ended.
  addAbortSignal(signal, process.stdin);
  try {
    yield* process.stdin as AsyncIterable<Buffer>;
  } catch (error) {
    signal.throwIfAborted();
    throw new UsageError(`cannot read the context from stdin: ${messageOf(error)}`);
  }
}

function nameOf(path: string): string {
  return path === '-' ? 'Dockerfile' : path;
}

function missing(path: string): UsageError {
  return new UsageError(`unable to find the Dockerfile: no such file: ${path}`);
}

function readDockerfile(path: string): string {
  try {
    return readUserFile(path, { stdin: true }).toString();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) throw missing(path);
    throw new UsageError(`cannot read the Dockerfile ${path}: ${messageOf(error)}`);
  }
}

/** `NAME.dockerignore` beside the Dockerfile NAME, else that of the context. */
function ignoreNames(dockerfile: string, folder: string): string[] {
  return [...(dockerfile === '-' ? [] : [`${dockerfile}.dockerignore`]), join(folder, '.dockerignore')];
}

async function readIgnore(names: readonly string[], read: (name: string) => Promise<Buffer | undefined>) {
  const { parseIgnore } = await import('../../../build/index.js');
  for (const name of names) {
    try {
      const found = await read(name);
      if (found !== undefined) return parseIgnore(found, name);
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    }
  }
  return undefined;
}
