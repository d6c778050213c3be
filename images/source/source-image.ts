// An image outside the store, found and understood, none of its layers read yet.

import type { ImageConfig } from '../types.js';

export interface SourceLayer {
  /** `sha256:<hex>` of the decompressed tar, from the image config. */
  diffId: string;
  /** `sha256:<hex>` and bytes of the blob, from the manifest; null where the format does not say. */
  digest: string | null;
  size: number | null;
  /** The blob's bytes, maybe compressed. */
  stream(): AsyncIterable<Buffer>;
}

export interface SourceImage {
  /** `sha256:<hex>` of the config: the image ID. */
  digest: string;
  config: ImageConfig;
  /** The config's bytes as they are: what the digest is of. */
  configBytes: Buffer;
  /** The manifest's bytes, or null where there is none. */
  manifestBytes: Buffer | null;
  layers: SourceLayer[];
}

/** An image of a file that may hold several. */
export interface NamedImage {
  /** What the file calls it: references, as `debian:12`. */
  names: string[];
  open(): Promise<SourceImage>;
}
