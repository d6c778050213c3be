// Pushes one layer, by the cheapest way that keeps its digest:
// 1. The repository has a blob of it.
// 2. Another repository of the registry has one, and the registry takes it from there.
// 3. Another registry has one, which is copied.
// 4. It is compressed here.

import { compress } from '../compress.js';
import type { PushCompression } from '../push-compressions.js';
import type { NameReference } from '../reference.js';
import type { Destination } from '../registry/destination.js';
import type { Registry } from '../registry/registry.js';
import type { PushProgress } from '../types.js';
import { type KnownBlob, knownBlobs } from './blobs.js';
import { copyBlob } from './copy-blob.js';
import { layerTar, tarLength } from './layer-tar.js';

export interface LayerPushOptions {
  home: string;
  registry: Registry;
  destination: Destination;
  name: NameReference;
  compression: PushCompression;
  onProgress: ((progress: PushProgress) => void) | undefined;
  /** That of the destination. */
  signal: AbortSignal;
}

export interface LayerPush {
  blob: Omit<KnownBlob, 'repositories'>;
  /** It came from a registry, and no registry gave its blob again: its digest has changed. */
  isRecompressed: boolean;
}

/** @throws ImageError */
export async function pushLayer(diffId: string, options: LayerPushOptions): Promise<LayerPush> {
  const { home, destination, name, compression, onProgress } = options;
  const known = knownBlobs(home, diffId).filter((blob) => !blob.isOurs || blob.compression === compression);
  const done = (phase: 'present' | 'mounted' | 'pushed', blob: LayerPush['blob'], from?: string): LayerPush => {
    onProgress?.({ phase, layer: diffId, done: blob.size, total: blob.size, ...(from !== undefined && { from }) });
    return { blob, isRecompressed: false };
  };
  for (const blob of known) if (await destination.has(blob.digest)) return done('present', blob);
  for (const blob of known) {
    for (const repository of blob.repositories) {
      const path = repository.slice(name.domain.length + 1);
      if (repository !== `${name.domain}/${path}` || path === name.path) continue;
      if (await destination.mount(blob.digest, path)) return done('mounted', blob, path);
    }
  }
  for (const blob of known) if (await copyFromAny(diffId, blob, options)) return done('pushed', blob);
  const total = tarLength(home, diffId);
  const uploaded = await destination.upload({
    what: 'a layer',
    digest: null,
    stream: () => compress(counted(layerTar(home, diffId), diffId, total, onProgress), compression),
  });
  const isRecompressed = known.some(
    ({ repositories, isOurs, digest }) => repositories.length > 0 && !isOurs && digest !== uploaded.digest,
  );
  return { ...done('pushed', { ...uploaded, compression, isOurs: true }), isRecompressed };
}

/** Copies a blob from a registry that has it. Returns false if none gives it. */
async function copyFromAny(diffId: string, blob: KnownBlob, options: LayerPushOptions): Promise<boolean> {
  const { registry, destination, onProgress, signal } = options;
  const progress = (stream: AsyncIterable<Buffer>) => counted(stream, diffId, blob.size, onProgress);
  for (const repository of blob.repositories) {
    const request = { repository, blob, what: 'a layer', progress, signal };
    if ((await copyBlob(registry, destination, request)) === null) return true;
  }
  return false;
}

/** Tells the progress of a stream as it is read. */
export async function* counted(
  source: AsyncIterable<Buffer>,
  layer: string,
  total: number,
  onProgress: LayerPushOptions['onProgress'],
): AsyncGenerator<Buffer> {
  let done = 0;
  onProgress?.({ phase: 'pushing', layer, done, total });
  for await (const bytes of source) {
    done += bytes.length;
    onProgress?.({ phase: 'pushing', layer, done, total });
    yield bytes;
  }
}
