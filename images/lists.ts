// The door for lists of manifests.

export type { FoundManifest, ManifestLists } from './store/manifest-lists.js';
export { manifestLists } from './store/manifest-lists.js';
