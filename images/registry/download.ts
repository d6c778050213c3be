// Downloads a file from any server, of which no more is known than its URL (RFC 9110).

import { messageOf } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { type Answer, bodyOf, Connections, discard, NoTlsError } from './connections.js';
import { parseContentLength } from './headers.js';
import { oneLine } from './one-line.js';
import { type Reach, TooNearError } from './reach.js';
import { leadOf } from './redirects.js';
import { failureOf } from './refusal.js';
import { readSettings } from './settings.js';
import { retrying, TransientError } from './transient.js';

const MAX_REDIRECTS = 10;
const REDIRECTS = [301, 302, 303, 307, 308];
/** Milliseconds of the first wait after a failure. */
const DELAY = 500;

export interface DownloadOptions {
  /** How near the server may be: `public` for a URL that a stranger has written. */
  reach: Reach;
  maxBytes: number;
  /** Milliseconds that all attempts may take together. */
  deadline: number;
  signal?: AbortSignal;
  /** Milliseconds of the first wait after a failure. */
  delay?: number;
}

/** What a server sends. */
export interface Download {
  /** Of the file itself, after redirects. */
  url: URL;
  /** Seconds since 1970. */
  lastModified: number | undefined;
  bytes: AsyncIterable<Buffer>;
}

/**
 * Downloads a file.
 *
 * @param url of http or https
 * @param take reads the file. Called again if the connection breaks
 * @throws ImageError `network`, `too-large`; the reason of the signal; the errors of `take`
 */
export async function download<T>(
  url: URL,
  { reach, maxBytes, deadline, signal, delay = DELAY }: DownloadOptions,
  take: (download: Download) => Promise<T>,
): Promise<T> {
  using connections = new Connections(readSettings());
  const ending = new AbortController();
  const end = (reason: unknown) => {
    ending.abort(reason);
    connections[Symbol.dispose]();
  };
  const onAbort = () => end(signal?.reason);
  const late = new ImageError('network', `${url.host} took longer than ${deadline / 1000} seconds`);
  const timer = setTimeout(() => end(late), deadline);
  signal?.addEventListener('abort', onAbort);
  try {
    signal?.throwIfAborted();
    const attempt = async () => take(opened(await follow(connections, url, reach), maxBytes));
    return await retrying(delay, attempt, ending.signal);
  } catch (error) {
    throw ending.signal.aborted ? ending.signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Redirects lead no nearer to this host, and not from TLS to none. */
async function follow(connections: Connections, start: URL, reach: Reach): Promise<Answer> {
  let url = start;
  let near = reach;
  for (let redirects = 0; ; redirects++) {
    const answer = await ask(connections, url, near);
    const target = REDIRECTS.includes(answer.status) ? leadOf(answer) : null;
    if (target === null) {
      if (answer.status === 200) return answer;
      throw await failureOf(answer, 'a file');
    }
    discard(answer);
    if (redirects === MAX_REDIRECTS) {
      throw new ImageError('network', `${start.host} redirects more than ${MAX_REDIRECTS} times`);
    }
    if (target.protocol !== 'https:' && !(target.protocol === 'http:' && url.protocol === 'http:')) {
      throw new ImageError('network', `${url.host} redirects to ${oneLine(target.origin)}, which is not of https`);
    }
    url = target;
    near = answer.reach;
  }
}

async function ask(connections: Connections, url: URL, reach: Reach): Promise<Answer> {
  try {
    return await connections.exchange({ method: 'GET', url, reach, headers: {} });
  } catch (error) {
    if (error instanceof TooNearError) {
      const message = `${error.host} is not on the public Internet: see docs/registries.md, "internal"`;
      throw new ImageError('network', message, { cause: error });
    }
    if (!(error instanceof NoTlsError)) throw error;
    throw new ImageError('network', messageOf(error), { cause: error });
  }
}

function opened(answer: Answer, maxBytes: number): Download {
  const { url, headers } = answer;
  const length = parseContentLength(headers['content-length']);
  const tooLarge = () => new ImageError('too-large', `${url.host} sends more than ${maxBytes} bytes`);
  if (length !== null && length > maxBytes) {
    discard(answer);
    throw tooLarge();
  }
  const time = Date.parse(headers['last-modified'] ?? '');
  return {
    url,
    lastModified: Number.isNaN(time) ? undefined : Math.floor(time / 1000),
    bytes: (async function* () {
      let received = 0;
      for await (const chunk of bodyOf(answer)) {
        received += chunk.length;
        if (received > maxBytes) throw tooLarge();
        yield chunk;
      }
      if (length !== null && received < length) {
        throw new TransientError(`${url.host} ended the file early, at byte ${received}`);
      }
    })(),
  };
}
