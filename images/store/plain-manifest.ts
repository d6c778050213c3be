// The manifest of an image with its layers uncompressed, as the store has them. A push compresses
// them, and has a manifest of its own.

import type { OCI_INDEX_TYPE } from '../source/manifest.js';
import { tarLength } from './layer-tar.js';
import { sha256 } from './record.js';

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';

/** What an index or an archive says of a manifest, or of an index. */
export interface ManifestDescriptor {
  mediaType: typeof MANIFEST_TYPE | typeof OCI_INDEX_TYPE;
  /** `sha256:<hex>`. */
  digest: string;
  /** Bytes. */
  size: number;
}

/** @param diffIds of layers that are in the store */
export function plainManifest(
  home: string,
  config: Buffer,
  diffIds: readonly string[],
): { bytes: Buffer; descriptor: ManifestDescriptor } {
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: { mediaType: CONFIG_TYPE, digest: sha256(config), size: config.length },
      layers: diffIds.map((digest) => ({ mediaType: LAYER_TYPE, digest, size: tarLength(home, digest) })),
    }),
  );
  return { bytes, descriptor: { mediaType: MANIFEST_TYPE, digest: sha256(bytes), size: bytes.length } };
}
