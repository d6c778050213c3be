// The door of the images room: references in, disks out. Nothing heavy is loaded until it is needed, for this is on
// the way of every run.

export { ImageError, type ImageErrorCode } from './errors.js';
export { openStore } from './store/store.js';
export type {
  Extent,
  HistoryEntry,
  Image,
  ImageConfig,
  ImageDetails,
  ImageSummary,
  ImportOptions,
  LoadedImage,
  Progress,
  Pruned,
  Pulled,
  PullOptions,
  PullPolicy,
  Removal,
  ResolveOptions,
  Store,
  StoreUsage,
} from './types.js';
