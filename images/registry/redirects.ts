// Requests that follow redirects (RFC 9110, 15.4). Other servers never get our credentials.

import { ImageError } from '../errors.js';
import { type Answer, type Connections, discard, type HttpRequest } from './connections.js';

const MAX_REDIRECTS = 10;

/** Statuses of redirects, and those after which a request that writes is repeated as it was. */
const REDIRECTS = [301, 302, 303, 307, 308];
const REPEATING_REDIRECTS = [307, 308];

/**
 * Sends a request and follows redirects, none of which may lead nearer to this host. The first
 * redirect to another origin drops the Authorization header.
 *
 * @throws TransientError, NoTlsError; ImageError `network`
 */
export async function follow(connections: Connections, request: HttpRequest): Promise<Answer> {
  const start = request.url;
  const statuses = ['GET', 'HEAD'].includes(request.method) ? REDIRECTS : REPEATING_REDIRECTS;
  let { url, reach: near, headers: sent } = request;
  for (let redirects = 0; ; redirects++) {
    const answer = await connections.exchange({ ...request, url, reach: near, headers: sent });
    const target = statuses.includes(answer.status) ? leadOf(answer) : null;
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

/** The URL in the Location header of an answer, or null if there is none. */
export function leadOf({ headers, url }: Answer): URL | null {
  if (headers.location === undefined) return null;
  return URL.canParse(headers.location, url.href) ? new URL(headers.location, url) : null;
}
