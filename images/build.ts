// The door for builds: what they need of the store, and what they make layers with.

export { compressionOf, MAGIC_SIZE } from './compression.js';
export { decompress, peek } from './decompress.js';
export { ImageError, toImageError } from './errors.js';
export { type Found, findInode, resolvePath } from './layer/find.js';
export type { LayerEntry } from './layer/layer-index.js';
export { type Inode, type InodeKind, mergeLayers, type Name } from './layer/merge.js';
export { MAX_EXPANSION_BYTES, MAX_EXPANSION_RATIO } from './limits.js';
export { formatPlatform, isSameMachine, MACHINE, type Platform, parsePlatform, writtenPlatform } from './platform.js';
export { fullReference, parseName } from './reference.js';
export { type Download, type DownloadOptions, download } from './registry/download.js';
export { ReachProxy } from './registry/proxy.js';
export { strangersAddress } from './registry/reach.js';
export { readSettings, type Settings } from './registry/settings.js';
export type { Json } from './source/json.js';
export {
  type BaseImage,
  type BuildSteps,
  type BuildStore,
  buildStore,
  type ComposedImage,
  type ComposedList,
  type LayerTree,
} from './store/build-store.js';
export type { ManifestDescriptor } from './store/plain-manifest.js';
export { remoteConfig } from './store/remote-config.js';
export type { SharedStep } from './store/shared-steps.js';
export type { StepLayer, StepResult } from './store/step-record.js';
export type { PruneSteps, SpooledFile, StepUsage } from './store/steps.js';
export { entryHeader } from './tar/entry-writer.js';
export { BLOCK_SIZE, beginsTar } from './tar/header.js';
export type { Timestamp } from './tar/pax.js';
export { type TarEntry, TarReader } from './tar/reader.js';
export { END_MARK, filePadding } from './tar/writer.js';
