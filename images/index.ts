// The door of the images room: references in, disks out. Every run loads this file, so it loads
// nothing heavy until it is needed.

export { ImageError, type ImageErrorCode } from './errors.js';
export { PUSH_COMPRESSIONS } from './push-compressions.js';
export { registryHost } from './registry/host.js';
export { homeLimit, sizeSetting } from './store/budget.js';
export { bytesOnDisk } from './store/disk-space.js';
export { openStore } from './store/store.js';
export { type TarEntry, TarReader } from './tar/reader.js';
export type {
  CommitOptions,
  Extent,
  HistoryEntry,
  Image,
  ImageConfig,
  ImageContents,
  ImageDetails,
  ImageHealthcheck,
  ImageSummary,
  ImportOptions,
  LoadedImage,
  Progress,
  Pruned,
  Pulled,
  PullOptions,
  PullPolicy,
  Pushed,
  PushOptions,
  PushProgress,
  Removal,
  ResolveOptions,
  Store,
  StoreUsage,
} from './types.js';

/**
 * Loads what holds and releases images, for a program that does so at its end: Node.js remembers a file
 * that it could not load, and an upgrade replaces the package of a program that runs.
 */
export async function loadHolders(): Promise<void> {
  await import('./store/holders.js');
}

/** See registry/login.ts. */
export async function login(host: string, username: string, password: string): Promise<string | null> {
  const registry = await import('./registry/login.js');
  return registry.login(host, username, password);
}

/** See registry/login.ts. */
export async function logout(host: string): Promise<boolean> {
  const registry = await import('./registry/login.js');
  return registry.logout(host);
}
