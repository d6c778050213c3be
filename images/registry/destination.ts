// A repository that an image is pushed to (OCI distribution-spec 1.1, "Push"). Mirrors are not
// asked: a push goes to the registry itself.

import { ImageError } from '../errors.js';
import { familiarName, type NameReference } from '../reference.js';
import { pullScope } from './blob.js';
import { discard } from './connections.js';
import type { Endpoint } from './endpoint.js';
import { refusalOf } from './refusal.js';
import { retrying } from './transient.js';
import {
  type BlobUpload,
  cancelUpload,
  checkStored,
  hasBlob,
  hasManifest,
  openUpload,
  type UploadedBlob,
  uploadBlob,
} from './upload.js';

export class Destination {
  readonly #scope: string;

  /**
   * @param delay milliseconds of the first wait after a failure
   * @param signal once aborted, each operation cancels its upload and fails with the reason
   */
  constructor(
    private readonly endpoint: Endpoint,
    private readonly reference: NameReference,
    private readonly delay: number,
    private readonly signal: AbortSignal,
  ) {
    this.#scope = `repository:${reference.path}:pull,push`;
  }

  /** Returns true if the repository has a blob. */
  has(digest: string): Promise<boolean> {
    return this.#do(() => hasBlob(this.endpoint, this.reference.path, this.#scope, digest, this.delay, this.signal));
  }

  /**
   * Asks the registry to take a blob from another of its repositories.
   *
   * @param from path of the other repository
   * @returns false if it does not
   */
  async mount(digest: string, from: string): Promise<boolean> {
    const query = `mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`;
    const target = `v2/${this.reference.path}/blobs/uploads/?${query}`;
    const scope = `${this.#scope} ${pullScope(from)}`;
    try {
      const answer = await openUpload(this.endpoint, target, scope, this.signal);
      discard(answer);
      if (answer.status === 201) return true;
      // The registry began an upload instead.
      if (answer.status === 202) await cancelUpload(this.endpoint, this.endpoint.lead(answer), scope);
      return false;
    } catch {
      // It may not be read, or not by this user. The blob is uploaded then, which tells any failure.
      return false;
    }
  }

  upload(blob: Omit<BlobUpload, 'repository' | 'scope' | 'signal'>): Promise<UploadedBlob> {
    const { path: repository } = this.reference;
    const whole = { ...blob, repository, scope: this.#scope, signal: this.signal };
    return this.#do(() => uploadBlob(this.endpoint, whole, this.delay));
  }

  /** Returns true if the repository has a manifest. */
  hasManifest(digest: string): Promise<boolean> {
    return this.#do(() =>
      hasManifest(this.endpoint, this.reference.path, this.#scope, digest, this.delay, this.signal),
    );
  }

  /**
   * Stores a manifest once the repository has all that it names.
   *
   * @param under its digest or a tag; default: the reference's tag
   */
  putManifest(bytes: Buffer, mediaType: string, digest: string, under = this.reference.tag): Promise<void> {
    const target = `v2/${this.reference.path}/manifests/${under}`;
    const headers = { 'content-type': mediaType };
    const request = { method: 'PUT', target, scope: this.#scope, headers, body: bytes, signal: this.signal } as const;
    const put = async () => {
      const answer = await this.endpoint.send(request);
      if (answer.status !== 201) throw await refusalOf(answer, 'does not take the manifest');
      discard(answer);
      checkStored(answer, digest, 'the manifest');
    };
    return this.#do(() => retrying(this.delay, put, this.signal));
  }

  async #do<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return await operation();
    } catch (error) {
      this.signal.throwIfAborted();
      throw denied(error, this.reference);
    }
  }
}

/** Says how to log in, if the registry wants other credentials. */
function denied(error: unknown, reference: NameReference): unknown {
  if (!(error instanceof ImageError) || error.code !== 'unauthorized') return error;
  const login = reference.domain === 'docker.io' ? 'tsvm login' : `tsvm login ${reference.domain}`;
  return new ImageError(
    'unauthorized',
    `push access denied for ${familiarName(reference)}: the repository may require '${login}' (${error.message})`,
    { cause: error },
  );
}
