// An image of layers that are in the store, as a source of itself.

import { ImageError } from '../errors.js';
import { parseConfig } from '../source/config.js';
import type { SourceImage } from '../source/source-image.js';
import { sha256 } from './record.js';

/** @param layers diff-ids, from the bottom up */
export function composedImage(configBytes: Buffer, layers: readonly string[]): SourceImage {
  return {
    digest: sha256(configBytes),
    config: parseConfig(configBytes).config,
    configBytes,
    manifestBytes: null,
    layers: layers.map((diffId) => ({ diffId, digest: null, size: null, stream: () => goneLayer(diffId) })),
  };
}

export function goneLayer(diffId: string): never {
  throw new ImageError('unknown-image', `the layer ${diffId} has been removed meanwhile: build again`);
}
