// An image outside of the store whose config is parsed and whose layers are not read yet.

import type { ImageConfig } from '../types.js';

export interface SourceLayer {
  /** `sha256:<hex>` of the decompressed tar, from the image config. */
  diffId: string;
  /** `sha256:<hex>` of the blob, from the manifest; null if the format has none. */
  digest: string | null;
  /** Bytes of the blob, from the manifest; null if the format has none. */
  size: number | null;
  /** Streams the blob, which may be compressed. */
  stream(): AsyncIterable<Buffer>;
}

export interface SourceImage {
  /** `sha256:<hex>` of the config: the image ID. */
  digest: string;
  config: ImageConfig;
  /** The unchanged bytes of the config, which the digest covers. */
  configBytes: Buffer;
  /** The unchanged bytes of the manifest, or null if there is none. */
  manifestBytes: Buffer | null;
  layers: SourceLayer[];
}

/** An image in a file that may hold several. */
export interface NamedImage {
  /** Its names in the file, such as `debian:12`. */
  names: string[];
  open(): Promise<SourceImage>;
}
