// The contexts that a build has beside its own, by their names: FROM, COPY and mounts find these
// before stages and images of the same names (docker buildx build, --build-context).
import { fullReference, ImageError, parseName } from '../images/build.js';
import type { ArchiveContext } from './context/archive-context.js';
import type { IgnoreRules } from './context/ignore.js';

export type NamedContext =
  /** The files of a folder, by its path, or of an archive. */
  | { is: 'folder'; files: string | ArchiveContext; ignore?: IgnoreRules | undefined }
  /** An image by its reference. */
  | { is: 'image'; reference: string };

/** By `contextKey` of their names. */
export type NamedContexts = ReadonlyMap<string, NamedContext>;

/** The full form of a name, so that `alpine` is `docker.io/library/alpine:latest`. Undefined if it is none. */
export function contextKey(name: string): string | undefined {
  try {
    return fullReference(parseName(name));
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  }
}

/** The context of a name as a Dockerfile has it. */
export function namedContext(
  contexts: NamedContexts,
  name: string,
): { key: string; context: NamedContext } | undefined {
  const key = contextKey(name);
  const context = key === undefined ? undefined : contexts.get(key);
  return key === undefined || context === undefined ? undefined : { key, context };
}
