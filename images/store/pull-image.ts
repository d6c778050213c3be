// Finds images in registries, and adds what the store lacks of them.

import { ImageError, toImageError } from '../errors.js';
import { MACHINE, parsePlatform } from '../platform.js';
import { familiarReference, fullReference, type NameReference, parseReference } from '../reference.js';
import { Registry, type RegistryOptions } from '../registry/registry.js';
import type { Pulled, PullOptions } from '../types.js';
import { addImage } from './add-image.js';
import { recordBlobs } from './blobs.js';
import { isWhole } from './layers.js';
import { readName } from './names.js';
import { isUsable } from './record.js';
import { openWorkspace } from './workspace.js';

/**
 * Pulls an image.
 *
 * @param text a name, with a tag or a digest
 * @throws ImageError
 */
export async function pullImage(
  home: string,
  text: string,
  { platform, onProgress }: PullOptions,
  registryOptions?: RegistryOptions,
): Promise<Pulled> {
  const parsed = parseReference(text);
  if (parsed.kind !== 'name')
    throw new ImageError('bad-reference', `${text} is not the name of an image in a registry`);
  // As Docker: a digest is enough to find the image, so a tag beside it is dropped.
  const name: NameReference = parsed.digest === null ? parsed : { ...parsed, tag: null };
  const machine = platform === undefined ? MACHINE : parsePlatform(platform);
  try {
    using registry = new Registry(registryOptions);
    const { digest: manifest, image } = await registry.find(name, machine);
    const pulled = { name: fullReference(name), manifest, digest: image.digest };
    if (readName(home, name) === image.digest && isUsable(home, image.digest)) return { ...pulled, changed: false };
    for (const { diffId, digest, size } of image.layers) {
      if (!isWhole(home, diffId)) continue;
      onProgress?.({ phase: 'present', layer: digest ?? diffId, done: size ?? 0, total: size ?? undefined });
    }
    await using workspace = await openWorkspace(home);
    await addImage(home, workspace, image, name, onProgress);
    const seen = image.layers.flatMap(({ diffId, digest }) => (digest === null ? [] : [[diffId, { digest }] as const]));
    await recordBlobs(home, `${name.domain}/${name.path}`, new Map(seen));
    return { ...pulled, changed: true };
  } catch (error) {
    throw pullError(error, familiarReference(name));
  }
}

/** Adds which image could not be pulled, unless the error says so already. */
export function pullError(error: unknown, name: string): ImageError {
  const doing = `cannot pull ${name}`;
  if (!(error instanceof ImageError)) return toImageError(error, doing);
  if (error.code === 'unknown-image' || error.code === 'unauthorized') return error;
  return new ImageError(error.code, `${doing}: ${error.message}`, { cause: error });
}
