// Turns a registry's error response into an error (OCI distribution-spec 1.1, "Error Codes").

import { ImageError } from '../errors.js';
import { type Answer, discard, readBody } from './connections.js';
import { parseRetryAfter } from './headers.js';
import { oneLine } from './one-line.js';
import { TransientError } from './transient.js';

const MAX_ERROR_BYTES = 64 << 10;

/**
 * Reads the body of an error response. What a server says to which a registry redirected is not
 * told: the registry's user may have no business there.
 *
 * @returns a suffix for a message, `: requested access to the resource is denied`, or '' if there
 *   is no description
 */
export async function describeRefusal(answer: Answer): Promise<string> {
  return (await readRefusal(answer)).suffix;
}

async function readRefusal(answer: Answer): Promise<{ code: string; suffix: string }> {
  if (answer.isElsewhere === true) {
    discard(answer);
    return { code: '', suffix: '' };
  }
  try {
    const text = (await readBody(answer, MAX_ERROR_BYTES, 'an error')).toString('utf8');
    const { code, said } = parseRefusal(text);
    return { code, suffix: said === '' ? '' : `: ${said}` };
  } catch {
    return { code: '', suffix: '' };
  }
}

/**
 * The first error in the body of a registry or token server: its code, and what it says on one line;
 * '' if there is none.
 */
export function parseRefusal(text: string): { code: string; said: string } {
  try {
    const json = JSON.parse(text) as { errors?: { message?: unknown; code?: unknown }[]; details?: unknown };
    const first = json?.errors?.[0];
    const code = oneLine(first?.code);
    return { code, said: oneLine(first?.message) || code || oneLine(json?.details) };
  } catch {
    return { code: '', said: '' };
  }
}

/** `refusalOf` an answer that should have given something. */
export function failureOf(answer: Answer, what: string): Promise<Error> {
  return refusalOf(answer, `gives no ${what.replace(/^an? /, '')}`);
}

/**
 * Makes an error of an unexpected status. For a busy or broken server it is a `TransientError`, and for
 * one that found another digest than it was sent: bytes were lost on the way, or another push of the
 * same bytes has not written all of them yet (Docker's registry 2.8 reads files while it writes them).
 *
 * @param does follows the server's name in the message: `takes no upload`
 */
export async function refusalOf(answer: Answer, does: string): Promise<Error> {
  const { status, url, headers } = answer;
  const { code, suffix } = await readRefusal(answer);
  const message = `${url.host} ${does}: HTTP status ${status}${suffix}`;
  if (code === 'DIGEST_INVALID' || status === 408 || status === 429 || status >= 500) {
    const wait = headers['retry-after'];
    return new TransientError(message, wait === undefined ? null : parseRetryAfter(wait, Date.now()));
  }
  return new ImageError('network', message);
}
