// Uploads a blob to a registry in chunks (OCI distribution-spec 1.1, "Pushing a blob in chunks").
// After a drop the registry says how much it has, and the upload goes on from there. If the
// registry has lost the upload, the blob is sent again from its start.

import { createHash } from 'node:crypto';
import { ImageError } from '../errors.js';
import { gathered } from '../gathered.js';
import { ACCEPT_MANIFESTS } from '../source/manifest.js';
import { type Answer, discard } from './connections.js';
import type { Endpoint, EndpointRequest, Lead } from './endpoint.js';
import { parseContentLength, parseUploadRange } from './headers.js';
import { refusalOf } from './refusal.js';
import { ATTEMPTS, asFinal, backOff, retrying, TransientError } from './transient.js';

/** Bytes of a chunk. Two of each upload are in memory: one is sent while the next is read. */
const CHUNK = 8 << 20;
/** The longest chunk, in bytes, that a registry may ask for. */
const MAX_CHUNK = 64 << 20;
/** A registry may look at all of a blob before it answers the end of an upload. */
const COMMIT_PATIENCE = 10;
/**
 * Milliseconds that a registry has, once a push ends, to answer the last change of an upload, and then
 * to cancel it.
 */
const CANCEL_PATIENCE = 3000;

export interface BlobUpload {
  /** `library/debian`. */
  repository: string;
  /** Token scope. */
  scope: string;
  /** Describes the blob in messages: `a layer`. */
  what: string;
  /** `sha256:<hex>` that the bytes must have; null accepts any. */
  digest: string | null;
  /** Streams the blob from its start, with the same bytes each time. */
  stream(): AsyncIterable<Buffer>;
  /** Once aborted, the upload is cancelled, and fails with the reason. */
  signal: AbortSignal;
}

/** A blob that a registry has. */
export interface UploadedBlob {
  digest: string;
  /** Bytes. */
  size: number;
}

/** The registry no longer has the upload. */
class LostUploadError extends Error {
  override readonly name = 'LostUploadError';
}

/** Statuses of a registry that does not know the upload, or expects another part of it. */
const OUT_OF_STEP = [400, 404, 410, 416];

/**
 * Returns true if a repository has a blob.
 *
 * @throws ImageError
 */
export function hasBlob(
  endpoint: Endpoint,
  repository: string,
  scope: string,
  digest: string,
  delay: number,
  signal: AbortSignal,
): Promise<boolean> {
  const target = `v2/${repository}/blobs/${digest}`;
  return has(endpoint, { method: 'HEAD', target, scope, signal }, 'a blob', delay);
}

/** As `hasBlob`, of a manifest or an index. */
export function hasManifest(
  endpoint: Endpoint,
  repository: string,
  scope: string,
  digest: string,
  delay: number,
  signal: AbortSignal,
): Promise<boolean> {
  const target = `v2/${repository}/manifests/${digest}`;
  const headers = { accept: ACCEPT_MANIFESTS };
  return has(endpoint, { method: 'HEAD', target, scope, headers, signal }, 'a manifest', delay);
}

async function has(endpoint: Endpoint, request: EndpointRequest, what: string, delay: number): Promise<boolean> {
  const ask = async () => {
    const answer = await endpoint.send(request);
    discard(answer);
    if (answer.status === 200) return true;
    if (answer.status === 404) return false;
    throw await refusalOf(answer, `does not say whether it has ${what}`);
  };
  return await retrying(delay, ask, request.signal);
}

/**
 * Asks for an upload.
 *
 * @param target the request's, see `Endpoint`
 * @throws as `Endpoint.send`
 */
export function openUpload(endpoint: Endpoint, target: string, scope: string, signal: AbortSignal): Promise<Answer> {
  return change(endpoint, { method: 'POST', target, scope, body: new Uint8Array() }, signal);
}

/** Cancels an upload. A registry that does not is left to its own clean-up: nothing refers to it. */
export async function cancelUpload(endpoint: Endpoint, target: Lead, scope: string): Promise<void> {
  try {
    discard(await endpoint.send({ method: 'DELETE', target, scope, signal: AbortSignal.timeout(CANCEL_PATIENCE) }));
  } catch {
    // The push has another end to tell.
  }
}

/**
 * Sends a request that changes an upload. An answer that comes soon after the signal is still taken:
 * only with it is the place of the upload known, which must be right for it to be cancelled.
 */
async function change(endpoint: Endpoint, request: EndpointRequest, signal: AbortSignal): Promise<Answer> {
  signal.throwIfAborted();
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const abort = () => {
    timer = setTimeout(() => late.abort(signal.reason), CANCEL_PATIENCE);
  };
  signal.addEventListener('abort', abort);
  try {
    return await endpoint.send({ ...request, signal: late.signal });
  } finally {
    signal.removeEventListener('abort', abort);
    clearTimeout(timer);
  }
}

/**
 * Uploads a blob. An upload that fails is cancelled.
 *
 * @param delay milliseconds of the first wait after a failure
 * @throws ImageError `network`, `unauthorized`, `corrupt` if the bytes do not have the digest; the
 *   stream's errors; the reason of the signal
 */
export async function uploadBlob(endpoint: Endpoint, blob: BlobUpload, delay: number): Promise<UploadedBlob> {
  for (let failures = 1; ; failures++) {
    try {
      return await uploadOnce(endpoint, blob, delay);
    } catch (error) {
      if (!(error instanceof LostUploadError)) throw error;
      if (failures === ATTEMPTS) throw new ImageError('network', error.message, { cause: error });
      await backOff(new TransientError(error.message), failures, delay, blob.signal);
    }
  }
}

async function uploadOnce(endpoint: Endpoint, blob: BlobUpload, delay: number): Promise<UploadedBlob> {
  const upload = await Upload.begin(endpoint, blob, delay);
  try {
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of chunksOf(blob.stream(), upload.chunkSize)) {
      hash.update(chunk);
      size += chunk.length;
      await upload.append(chunk);
    }
    const digest = `sha256:${hash.digest('hex')}`;
    if (blob.digest !== null && digest !== blob.digest) {
      throw new ImageError('corrupt', `${blob.what} is damaged: its digest is ${digest} instead of ${blob.digest}`);
    }
    await upload.finish(digest);
    return { digest, size };
  } catch (error) {
    await upload.cancel();
    throw error;
  }
}

/** One upload in progress. */
class Upload {
  #lead: Lead;
  /** Bytes that the registry has taken. */
  #at = 0;

  private constructor(
    private readonly endpoint: Endpoint,
    private readonly blob: BlobUpload,
    private readonly delay: number,
    lead: Lead,
    /** Bytes of each chunk but the last. */
    readonly chunkSize: number,
  ) {
    this.#lead = lead;
  }

  static begin(endpoint: Endpoint, blob: BlobUpload, delay: number): Promise<Upload> {
    const { repository, scope, signal } = blob;
    const begin = async () => {
      const answer = await openUpload(endpoint, `v2/${repository}/blobs/uploads/`, scope, signal);
      if (answer.status !== 202) throw await refusalOf(answer, 'takes no upload');
      const lead = endpoint.lead(answer);
      const least = answer.headers['oci-chunk-min-length'];
      discard(answer);
      const size = Math.max(CHUNK, parseContentLength(typeof least === 'string' ? least : undefined) ?? 0);
      if (size <= MAX_CHUNK) return new Upload(endpoint, blob, delay, lead, size);
      await cancelUpload(endpoint, lead, scope);
      throw new ImageError('too-large', `${endpoint.host} asks for chunks of ${size} bytes; the limit is ${MAX_CHUNK}`);
    };
    return retrying(delay, begin, signal);
  }

  async append(chunk: Buffer): Promise<void> {
    let sent = 0;
    for (let failures = 1; sent < chunk.length; failures++) {
      try {
        await this.#patch(chunk, sent);
        sent = chunk.length;
      } catch (error) {
        if (!(error instanceof TransientError)) throw error;
        if (failures === ATTEMPTS) throw asFinal(error);
        await backOff(error, failures, this.delay, this.blob.signal);
        sent = (await this.#taken()) - this.#at;
        if (sent < 0 || sent > chunk.length) throw this.#lost('has another part of it');
      }
    }
    this.#at += chunk.length;
  }

  async finish(digest: string): Promise<void> {
    const { repository, scope, what, signal } = this.blob;
    const { url, ...lead } = this.#lead;
    const target = { ...lead, url: withQuery(url, `digest=${encodeURIComponent(digest)}`) };
    for (let failures = 1; ; failures++) {
      try {
        const request = { method: 'PUT', target, scope, body: new Uint8Array(), patience: COMMIT_PATIENCE } as const;
        const answer = await change(this.endpoint, request, signal);
        if (OUT_OF_STEP.includes(answer.status)) throw this.#lost((await refusalOf(answer, 'refuses it')).message);
        if (answer.status !== 201) throw await refusalOf(answer, `does not take ${what}`);
        discard(answer);
        checkStored(answer, digest, what);
        return;
      } catch (error) {
        if (!(error instanceof TransientError)) throw error;
        if (failures === ATTEMPTS) throw asFinal(error);
        await backOff(error, failures, this.delay, signal);
        // The answer may have been lost, not the request.
        if (await hasBlob(this.endpoint, repository, scope, digest, this.delay, signal)) return;
      }
    }
  }

  /** Called when nothing of it is on the way. */
  cancel(): Promise<void> {
    return cancelUpload(this.endpoint, this.#lead, this.blob.scope);
  }

  /** Sends the chunk's bytes from `sent` on. */
  async #patch(chunk: Buffer, sent: number): Promise<void> {
    const end = this.#at + chunk.length;
    const { scope, signal } = this.blob;
    const headers = { 'content-type': 'application/octet-stream', 'content-range': `${this.#at + sent}-${end - 1}` };
    const request = { method: 'PATCH', target: this.#lead, scope, headers, body: chunk.subarray(sent) } as const;
    const answer = await change(this.endpoint, request, signal);
    if (OUT_OF_STEP.includes(answer.status)) {
      throw new TransientError((await refusalOf(answer, `does not take a part of ${this.blob.what}`)).message);
    }
    if (answer.status !== 202) throw await refusalOf(answer, `does not take ${this.blob.what}`);
    this.#lead = this.endpoint.lead(answer);
    const { range } = answer.headers;
    discard(answer);
    if (range === undefined || parseUploadRange(String(range)) === end) return;
    throw new TransientError(`${this.endpoint.host} took only a part of ${this.blob.what}`);
  }

  /** Asks the registry how many bytes it has taken. */
  #taken(): Promise<number> {
    const { scope, signal } = this.blob;
    const ask = async () => {
      const answer = await this.endpoint.send({ method: 'GET', target: this.#lead, scope, signal });
      if (OUT_OF_STEP.includes(answer.status)) {
        discard(answer);
        throw this.#lost('no longer has it');
      }
      if (answer.status !== 204) throw await refusalOf(answer, 'does not say what it has of an upload');
      if (answer.headers.location !== undefined) this.#lead = this.endpoint.lead(answer);
      const taken = parseUploadRange(String(answer.headers.range ?? ''));
      discard(answer);
      // `0-0` may mean one byte, or none.
      if (taken === null || taken === 1) throw this.#lost('does not say what it has of it');
      return taken;
    };
    return retrying(this.delay, ask, signal);
  }

  #lost(how: string): LostUploadError {
    return new LostUploadError(
      `the upload of ${this.blob.what} to ${this.endpoint.host} was lost: the registry ${how}`,
    );
  }
}

/** @throws ImageError `network` if the registry names another digest than was sent */
export function checkStored({ headers, url }: Answer, digest: string, what: string): void {
  const stored = headers['docker-content-digest'];
  if (typeof stored === 'string' && stored.startsWith('sha256:') && stored !== digest) {
    throw new ImageError('network', `${url.host} stored ${what} as ${stored} instead of ${digest}`);
  }
}

/** Adds to a URL's query, whose other bytes stay as they are: a registry may have signed them. */
function withQuery(url: URL, query: string): URL {
  const longer = new URL(url);
  longer.search = url.search === '' ? query : `${url.search}&${query}`;
  return longer;
}

/** Cuts a stream into chunks. The next one is read while the caller has the last. */
async function* chunksOf(source: AsyncIterable<Buffer>, size: number): AsyncGenerator<Buffer> {
  const chunks = gathered(source, size);
  let next = chunks.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done) return;
      next = chunks.next();
      next.catch(() => {});
      yield value;
    }
  } finally {
    await chunks.return(undefined).catch(() => {});
  }
}
