// A blob as it comes from a registry: broken downloads go on where they broke off (OCI distribution-spec 1.1, "Pulling
// blobs"; RFC 9110, 14), at another server if there is one.

import { ImageError } from '../errors.js';
import type { Descriptor } from '../source/manifest.js';
import { bodyOf, discard } from './connections.js';
import type { Endpoint } from './endpoint.js';
import { parseContentLength, parseContentRange } from './headers.js';
import { failureOf } from './refusal.js';
import { ATTEMPTS, asFinal, backOff, TransientError } from './transient.js';

/** Bytes of progress after which earlier failures are forgotten. */
const PROGRESS = 64 << 10;

interface BlobRequest {
  /** `library/debian`. */
  repository: string;
  digest: string;
  /** Bytes. */
  size: number;
  /** What it is, for messages: `a layer`. */
  what: string;
}

/** What is asked of a registry for reading a repository. */
export function pullScope(repository: string): string {
  return `repository:${repository}:pull`;
}

/**
 * The bytes of a blob, no more than its size; that they are the right ones is for the caller to check.
 *
 * @param endpoints asked in their order, the next one when one fails for good
 * @param delay milliseconds of the first wait after a failure
 * @throws ImageError `network`, `unauthorized`, `corrupt`
 */
export async function* downloadBlob(
  endpoints: readonly Endpoint[],
  blob: BlobRequest,
  delay: number,
): AsyncGenerator<Buffer> {
  let at = 0;
  for (const [i, endpoint] of endpoints.entries()) {
    let failures = 0;
    let failedAt = at;
    while (at < blob.size || blob.size === 0) {
      try {
        for await (const chunk of rest(endpoint, blob, at)) {
          at += chunk.length;
          yield chunk;
        }
        if (at < blob.size) throw new TransientError(`${endpoint.host} broke ${blob.what} off at byte ${at}`);
        return;
      } catch (error) {
        if (at - failedAt >= PROGRESS) failures = 0;
        failedAt = at;
        failures++;
        const lasting = !(error instanceof TransientError) || failures === ATTEMPTS;
        if (!lasting) await backOff(error, failures, delay);
        else if (i === endpoints.length - 1) throw asFinal(error);
        else break;
      }
    }
  }
}

/** What is left of a blob from `at` on. */
async function* rest(endpoint: Endpoint, blob: BlobRequest, at: number): AsyncGenerator<Buffer> {
  const { repository, digest, size, what } = blob;
  const headers: Record<string, string> = at > 0 ? { range: `bytes=${at}-` } : {};
  const answer = await endpoint.get(`v2/${repository}/blobs/${digest}`, pullScope(repository), headers);
  const { status } = answer;
  if (status === 404) {
    discard(answer);
    throw new ImageError('corrupt', `${endpoint.host} lacks ${what}, ${digest}`);
  }
  if (status !== 200 && status !== 206) throw await failureOf(answer, what);
  let start = 0;
  if (status === 206) {
    const range = parseContentRange(answer.headers['content-range'] ?? '');
    if (!range || range.first > at || (range.size !== null && range.size !== size)) {
      discard(answer);
      throw new ImageError('corrupt', `${endpoint.host} gives another part of ${what} than it was asked for`);
    }
    start = range.first;
  }
  const length = parseContentLength(answer.headers['content-length']);
  if (length !== null && status === 200 && length !== size) {
    discard(answer);
    throw new ImageError('corrupt', `${what} has ${length} bytes instead of ${size}: ${digest}`);
  }
  // A server that does not know ranges begins anew.
  let skip = at - start;
  let position = at;
  for await (const chunk of bodyOf(answer)) {
    const fresh = skip > 0 ? chunk.subarray(skip) : chunk;
    skip = Math.max(0, skip - chunk.length);
    if (fresh.length === 0) continue;
    position += fresh.length;
    if (position > size) throw new ImageError('corrupt', `${what} is longer than ${size} bytes: ${digest}`);
    yield fresh;
  }
}

/** A blob's descriptor as a request. */
export function blobRequest(repository: string, { digest, size }: Descriptor, what: string): BlobRequest {
  return { repository, digest, size, what };
}
