// The manifest of a pushed image: the one that the image came with if it still fits, byte for byte.

import { join } from 'node:path';
import { parseJson } from '../source/json.js';
import { MANIFEST_TYPES, parseDescriptor } from '../source/manifest.js';
import { imagePath, MANIFEST } from './layout.js';
import type { LayerPush } from './push-layer.js';
import { readIfThere } from './record.js';

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';

/**
 * @param image the image ID
 * @param layers from the bottom up
 */
export function manifestFor(
  home: string,
  image: string,
  config: Buffer,
  layers: LayerPush[],
): { bytes: Buffer; mediaType: string } {
  const own = readIfThere(join(imagePath(home, image), MANIFEST));
  const mediaType = own === null ? null : typeIfFit(own, image, layers);
  if (own !== null && mediaType !== null) return { bytes: own, mediaType };
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, digest: image, size: config.length },
    layers: layers.map(({ blob: { digest, size, compression } }) => ({
      mediaType: compression === 'none' ? LAYER_TYPE : `${LAYER_TYPE}+${compression}`,
      digest,
      size,
    })),
  };
  return { bytes: Buffer.from(JSON.stringify(manifest)), mediaType: MANIFEST_TYPE };
}

/** The media type of a manifest if it describes exactly these blobs, or null. */
function typeIfFit(bytes: Buffer, image: string, layers: LayerPush[]): string | null {
  const json = parseJson(bytes, 'the manifest') as { mediaType?: unknown; config?: unknown; layers?: unknown };
  if (!Array.isArray(json.layers) || parseDescriptor(json.config).digest !== image) return null;
  const described = json.layers.map(parseDescriptor);
  const fits =
    described.length === layers.length &&
    described.every(({ digest, size }, i) => digest === layers[i]?.blob.digest && size === layers[i]?.blob.size);
  if (!fits) return null;
  if (json.mediaType === undefined) return MANIFEST_TYPE;
  return MANIFEST_TYPES.find((type) => type === json.mediaType) ?? null;
}
