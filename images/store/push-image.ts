// Pushes an image of the store to a registry: its layers in parallel, its config, and its manifest
// last. Nothing refers to the blobs before that, so a push that ends early leaves the tag as it was.

import { ImageError, toImageError } from '../errors.js';
import type { PushCompression } from '../push-compressions.js';
import { familiarReference, fullReference, type NameReference, parseName } from '../reference.js';
import type { Destination } from '../registry/destination.js';
import { Registry, type RegistryOptions } from '../registry/registry.js';
import { parseConfig } from '../source/config.js';
import type { Pushed, PushOptions } from '../types.js';
import { recordBlobs } from './blobs.js';
import { isWhole } from './layers.js';
import { readName } from './names.js';
import { inParallel } from './parallel.js';
import { type LayerPush, pushLayer } from './push-layer.js';
import { manifestFor } from './push-manifest.js';
import { damaged, readConfig, sha256 } from './record.js';
import { recordPushed } from './record-pushed.js';

/**
 * Pushes an image.
 *
 * @param text a name in the store, with a tag or without (`latest`)
 * @throws ImageError; the reason of the signal
 */
export async function pushImage(
  home: string,
  text: string,
  { compression = 'gzip', onProgress, signal }: PushOptions,
  registryOptions?: RegistryOptions,
): Promise<Pushed> {
  const name = parseName(text);
  if (name.digest !== null) throw new ImageError('bad-reference', 'cannot push a digest reference');
  const shown = familiarReference(name);
  const digest = readName(home, name);
  if (digest === null) {
    throw new ImageError('unknown-image', `An image does not exist locally with the tag: ${shown}`);
  }
  const stop = new AbortController();
  const abort = () => stop.abort(signal?.reason);
  try {
    signal?.throwIfAborted();
    signal?.addEventListener('abort', abort);
    using registry = new Registry(registryOptions);
    const destination = registry.destination(name, stop.signal);
    const options = { home, image: digest, registry, destination, name, compression, onProgress, stop };
    const { mediaType, ...pushed } = await pushStored(options);
    return { name: fullReference(name), ...pushed };
  } catch (error) {
    signal?.throwIfAborted();
    throw pushError(error, shown);
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** @param under a tag or the digest of the manifest; default: the tag of the destination */
export async function pushStored(
  options: StoredPush,
  under: 'tag' | 'digest' = 'tag',
): Promise<Pick<Pushed, 'digest' | 'size' | 'recompressed'> & { mediaType: string }> {
  const { home, image, destination, name } = options;
  const config = readConfig(home, image);
  const { diffIds } = parseConfig(config);
  for (const diffId of diffIds) if (!isWhole(home, diffId)) throw damaged(image);
  const layers = await pushLayers(diffIds, options);
  if (!(await destination.has(image))) {
    const stream = async function* () {
      yield config;
    };
    await destination.upload({ what: 'the image config', digest: image, stream });
  }
  const { bytes, mediaType } = manifestFor(
    home,
    image,
    config,
    diffIds.map((diffId) => layers.get(diffId)!),
  );
  const digest = sha256(bytes);
  await destination.putManifest(bytes, mediaType, digest, under === 'tag' ? undefined : digest);
  await recordBlobs(
    home,
    `${name.domain}/${name.path}`,
    new Map([...layers].map(([diffId, { blob }]) => [diffId, { digest: blob.digest, verified: blob }])),
  );
  await recordPushed(home, image, name, digest);
  const recompressed = diffIds.filter((diffId) => layers.get(diffId)?.isRecompressed);
  return { digest, size: bytes.length, recompressed, mediaType };
}

export interface StoredPush {
  home: string;
  image: string;
  registry: Registry;
  destination: Destination;
  name: NameReference;
  compression: PushCompression;
  onProgress: PushOptions['onProgress'];
  /** Ends what is done at the destination. */
  stop: AbortController;
}

/** Pushes each layer once. The first failure stops the others. */
async function pushLayers(diffIds: string[], { stop, ...options }: StoredPush): Promise<Map<string, LayerPush>> {
  const pushed = new Map<string, LayerPush>();
  await inParallel([...new Set(diffIds)], stop, async (diffId) => {
    pushed.set(diffId, await pushLayer(diffId, { ...options, signal: stop.signal }));
  });
  return pushed;
}

/** Adds which image could not be pushed, unless the error says so already. */
export function pushError(error: unknown, name: string): ImageError {
  const doing = `cannot push ${name}`;
  if (!(error instanceof ImageError)) return toImageError(error, doing);
  if (error.code === 'unauthorized') return error;
  return new ImageError(error.code, `${doing}: ${error.message}`, { cause: error });
}
