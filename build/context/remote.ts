// The files that a build downloads: those that ADD names, and a context that is a URL.
import { type Download, type DownloadOptions, download, ImageError } from '../../images/build.js';

import { BuildError } from '../build-error.js';
import { DOWNLOAD_DEADLINE, MAX_DOWNLOAD_BYTES } from '../limits.js';

/** True for a source that is no folder: what begins as a URL or as git's form of one. */
export function isRemote(source: string): boolean {
  return /^(?:[a-z][a-z0-9+.-]*:\/\/|[a-z0-9_][a-z0-9_.-]*@[a-z0-9.-]+:)/i.test(source);
}

/** The URL of a file that is downloaded as it is. Undefined for any other source: of git, for one. */
export function fileUrl(source: string): URL | undefined {
  const url = URL.canParse(source) ? new URL(source) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.pathname.endsWith('.git') || url.hash !== '') {
    return undefined;
  }
  return url;
}

/**
 * Downloads a file within the limits of a build.
 *
 * @param take reads the file. Called again if the connection breaks
 * @throws BuildError `bad-context`; ImageError; the reason of the signal; the errors of `take`
 */
export async function fetchFile<T>(
  url: URL,
  options: Pick<DownloadOptions, 'reach' | 'signal'>,
  take: (file: Download) => Promise<T>,
): Promise<T> {
  try {
    return await download(url, { maxBytes: MAX_DOWNLOAD_BYTES, deadline: DOWNLOAD_DEADLINE, ...options }, take);
  } catch (cause) {
    if (!(cause instanceof ImageError)) throw cause;
    if (cause.code !== 'network' && cause.code !== 'too-large') throw cause;
    throw new BuildError('bad-context', `cannot download ${shownUrl(url)}: ${cause.message}`, { cause });
  }
}

/** Without a password. */
export function shownUrl(url: URL): string {
  const shown = new URL(url);
  shown.username = '';
  shown.password = '';
  return shown.href;
}
