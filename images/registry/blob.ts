// Downloads a blob from a registry. An interrupted download resumes where it ended, at another
// server if there is one (OCI distribution-spec 1.1, "Pulling blobs"; RFC 9110, 14).

import { ImageError } from '../errors.js';
import type { Descriptor } from '../source/manifest.js';
import { bodyOf, discard } from './connections.js';
import type { Endpoint } from './endpoint.js';
import { parseContentLength, parseContentRange } from './headers.js';
import { failureOf } from './refusal.js';
import { ATTEMPTS, asFinal, backOff, TransientError } from './transient.js';

/** Bytes of progress that reset the count of failures. */
const PROGRESS = 64 << 10;

interface BlobRequest {
  /** `library/debian`. */
  repository: string;
  digest: string;
  /** Bytes. */
  size: number;
  /** Describes the blob in messages: `a layer`. */
  what: string;
}

/** The token scope for pulling from a repository. */
export function pullScope(repository: string): string {
  return `repository:${repository}:pull`;
}

/**
 * Yields the bytes of a blob, at most its size. The caller verifies the digest.
 *
 * @param endpoints tried in order: the next one when one fails permanently
 * @param delay milliseconds of the first wait after a failure
 * @param signal once aborted, the download fails
 * @throws ImageError `network`, `unauthorized`, `corrupt`
 */
export async function* downloadBlob(
  endpoints: readonly Endpoint[],
  blob: BlobRequest,
  delay: number,
  signal?: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  let at = 0;
  for (const [i, endpoint] of endpoints.entries()) {
    let failures = 0;
    let failedAt = at;
    while (at < blob.size || blob.size === 0) {
      try {
        for await (const chunk of rest(endpoint, blob, at, signal)) {
          at += chunk.length;
          yield chunk;
        }
        if (at < blob.size) throw new TransientError(`${endpoint.host} ended ${blob.what} early, at byte ${at}`);
        return;
      } catch (error) {
        if (at - failedAt >= PROGRESS) failures = 0;
        failedAt = at;
        failures++;
        const lasting = !(error instanceof TransientError) || failures === ATTEMPTS;
        if (!lasting) await backOff(error, failures, delay, signal);
        else if (i === endpoints.length - 1) throw asFinal(error);
        else break;
      }
    }
  }
}

/** Yields the bytes of a blob from `at` on. */
async function* rest(
  endpoint: Endpoint,
  blob: BlobRequest,
  at: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const { repository, digest, size, what } = blob;
  const headers: Record<string, string> = at > 0 ? { range: `bytes=${at}-` } : {};
  const answer = await endpoint.get(`v2/${repository}/blobs/${digest}`, pullScope(repository), headers, signal);
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
      throw new ImageError('corrupt', `${endpoint.host} sent the wrong part of ${what}`);
    }
    start = range.first;
  }
  const length = parseContentLength(answer.headers['content-length']);
  if (length !== null && status === 200 && length !== size) {
    discard(answer);
    throw new ImageError('corrupt', `${what} has ${length} bytes instead of ${size}: ${digest}`);
  }
  // A server that ignores Range starts over, or earlier than asked: skip what we have.
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

/** Makes a request from a blob's descriptor. */
export function blobRequest(repository: string, { digest, size }: Descriptor, what: string): BlobRequest {
  return { repository, digest, size, what };
}
