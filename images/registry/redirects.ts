// GET requests that are sent on to other places, which learn nothing of who we are (RFC 9110, 15.4).

import { ImageError } from '../errors.js';
import { type Answer, type Connections, discard } from './connections.js';

const MAX_REDIRECTS = 10;

/**
 * Asks for a URL, and for those that it leads to. Once another server is asked, the Authorization header is left out.
 *
 * @throws TransientError, NoTlsError; ImageError `network`
 */
export async function follow(connections: Connections, start: URL, headers: Record<string, string>): Promise<Answer> {
  let url = start;
  let sent = headers;
  for (let redirects = 0; ; redirects++) {
    const answer = await connections.exchange({ method: 'GET', url, headers: sent });
    const target = redirectOf(answer);
    if (target === null) return answer;
    discard(answer);
    if (redirects === MAX_REDIRECTS) throw new ImageError('network', `${start.host} redirects again and again`);
    if (!connections.mayAsk(target)) {
      throw new ImageError('network', `${url.host} redirects to ${target.host}, not over TLS`);
    }
    if (target.origin !== url.origin) {
      const { authorization: _, ...others } = sent;
      sent = others;
    }
    url = target;
  }
}

/** Where an answer sends us on to, or null. */
function redirectOf({ status, headers, url }: Answer): URL | null {
  if (![301, 302, 303, 307, 308].includes(status) || headers.location === undefined) return null;
  return URL.canParse(headers.location, url.href) ? new URL(headers.location, url) : null;
}
