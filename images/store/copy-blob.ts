// Copies a blob from one repository to another, which verifies it, without a file in between.

import { ImageError } from '../errors.js';
import type { Destination } from '../registry/destination.js';
import type { Registry } from '../registry/registry.js';

interface BlobCopy {
  /** `DOMAIN/PATH` of the repository that has it. */
  repository: string;
  blob: { digest: string; size: number };
  /** Describes the blob in messages: `a layer`. */
  what: string;
  /** Watches the bytes on their way. */
  progress: (stream: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;
  /** That of the destination. */
  signal: AbortSignal;
}

/**
 * Copies a blob.
 *
 * @returns null, or why the repository does not give it
 * @throws the destination's errors; the reason of the signal
 */
export async function copyBlob(
  registry: Registry,
  destination: Destination,
  { repository, blob, what, progress, signal }: BlobCopy,
): Promise<unknown> {
  let failure: unknown = null;
  async function* watched(): AsyncGenerator<Buffer> {
    try {
      yield* registry.blob(repository, blob, signal, what);
    } catch (error) {
      failure = error;
      throw error;
    }
  }
  try {
    await destination.upload({ what, digest: blob.digest, stream: () => progress(watched()) });
    return null;
  } catch (error) {
    signal.throwIfAborted();
    const isWrong = error instanceof ImageError && error.code === 'corrupt';
    if (failure === null && !isWrong) throw error;
    return failure ?? error;
  }
}
