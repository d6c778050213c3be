// The door of the images room: references in, disks out. Nothing heavy is loaded until it is needed, for this is on
// the way of every run.

export { ImageError, type ImageErrorCode } from './errors.js';
export { openStore } from './store/store.js';
export type {
  Extent,
  Image,
  ImageConfig,
  ImageSummary,
  ImportOptions,
  Progress,
  Removal,
  ResolveOptions,
  Store,
} from './types.js';
