/** How a layer made here may be compressed for a registry. */
export const PUSH_COMPRESSIONS = ['gzip', 'zstd'] as const;
export type PushCompression = (typeof PUSH_COMPRESSIONS)[number];
