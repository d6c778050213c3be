// GET requests that follow redirects (RFC 9110, 15.4). Other servers never get our credentials.

import { ImageError } from '../errors.js';
import { type Answer, type Connections, discard } from './connections.js';
import type { Reach } from './reach.js';

const MAX_REDIRECTS = 10;

/**
 * Sends a GET request and follows redirects, none of which may lead nearer to this host. The first redirect to another origin drops the
 * Authorization header.
 *
 * @param reach how near the first server may be
 * @throws TransientError, NoTlsError; ImageError `network`
 */
export async function follow(
  connections: Connections,
  start: URL,
  reach: Reach,
  headers: Record<string, string>,
): Promise<Answer> {
  let url = start;
  let near = reach;
  let sent = headers;
  for (let redirects = 0; ; redirects++) {
    const answer = await connections.exchange({ method: 'GET', url, reach: near, headers: sent });
    const target = redirectOf(answer);
    if (target === null) return { ...answer, isElsewhere: url.origin !== start.origin };
    discard(answer);
    if (redirects === MAX_REDIRECTS)
      throw new ImageError('network', `${start.host} redirects more than ${MAX_REDIRECTS} times`);
    if (!connections.mayLead(answer, target)) {
      throw new ImageError('network', `${url.host} redirects to ${target.host} without TLS`);
    }
    if (target.origin !== url.origin) {
      const { authorization: _, ...others } = sent;
      sent = others;
    }
    url = target;
    near = answer.reach;
  }
}

/** The target of a redirect, or null if the answer is not one. */
function redirectOf({ status, headers, url }: Answer): URL | null {
  if (![301, 302, 303, 307, 308].includes(status) || headers.location === undefined) return null;
  return URL.canParse(headers.location, url.href) ? new URL(headers.location, url) : null;
}
