// Reads an OCI image layout (OCI image-spec 1.1, image-layout.md) in a directory or an archive:
// from index.json through image indexes and the manifest to the config, each checked against its
// digest.

import { ImageError } from '../errors.js';
import { MAX_JSON_BYTES } from '../limits.js';
import { MACHINE, type Platform } from '../platform.js';
import { checkDigest } from './config.js';
import { type FileTree, readSmall, type TreeFile } from './file-tree.js';
import { list, object, parseJson } from './json.js';
import { choosePlatform, type Descriptor, openManifest, parseDescriptor } from './manifest.js';
import type { NamedImage, SourceImage } from './source-image.js';

const TAG_ANNOTATION = 'org.opencontainers.image.ref.name';
/** The annotation of Docker and containerd, which holds the full name. */
const NAME_ANNOTATION = 'io.containerd.image.name';

/**
 * Finds an image in a layout.
 *
 * @param tag the name annotated in index.json, or null for its only image
 * @param platform of the image
 * @throws ImageError `not-an-image`, `unknown-image`, `corrupt`, `unsupported`, `too-large`
 */
export async function openOciLayout(
  tree: FileTree,
  tag: string | null,
  platform: Platform = MACHINE,
): Promise<SourceImage> {
  return openImage(tree, choose(await readLayoutIndex(tree), tag, platform, tree.path), platform);
}

/**
 * Lists the images of a layout. Their names include full references only: a bare tag means nothing
 * outside of the layout.
 *
 * @throws ImageError `not-an-image`, `corrupt`, `too-large`
 */
export async function listOciLayout(tree: FileTree): Promise<NamedImage[]> {
  const byDigest = new Map<string, NamedImage>();
  for (const descriptor of await readLayoutIndex(tree)) {
    const image = byDigest.get(descriptor.digest) ?? { names: [], open: () => openImage(tree, descriptor, MACHINE) };
    byDigest.set(descriptor.digest, image);
    const name = [NAME_ANNOTATION, TAG_ANNOTATION]
      .map((key) => descriptor.annotations[key])
      .find((text) => typeof text === 'string' && /[/:]/.test(text));
    if (typeof name === 'string') image.names.push(name);
  }
  return [...byDigest.values()];
}

/** What index.json lists. @throws ImageError `not-an-image`, `corrupt`, `too-large` */
export async function readLayoutIndex(tree: FileTree): Promise<Descriptor[]> {
  const indexFile = tree.find('index.json');
  if (!indexFile || !tree.find('oci-layout')) {
    throw new ImageError('not-an-image', `${tree.path} is not an OCI image layout: it lacks oci-layout or index.json`);
  }
  const bytes = await readSmall(indexFile, MAX_JSON_BYTES, 'index.json');
  const index = object(parseJson(bytes, 'index.json'), 'index.json');
  return list(index.manifests, "index.json's manifests").map(parseDescriptor);
}

async function openImage(tree: FileTree, descriptor: Descriptor, platform: Platform): Promise<SourceImage> {
  const blobs = {
    read: (wanted: Descriptor, what: string) => readSmall(findBlob(tree, wanted, what), MAX_JSON_BYTES, what),
    stream: (layer: Descriptor) => findBlob(tree, layer, 'a layer').stream(),
  };
  return openManifest(blobs, descriptor, platform);
}

function choose(manifests: Descriptor[], tag: string | null, platform: Platform, path: string): Descriptor {
  const [first] = manifests;
  if (first === undefined) throw new ImageError('not-an-image', `${path} holds no image`);
  const tags = [...new Set(manifests.map(({ annotations }) => annotations[TAG_ANNOTATION]))]
    .filter((name): name is string => typeof name === 'string')
    .sort();
  if (tag !== null) {
    // Tools append to the index: if several have this name, the last one is the newest.
    const found = manifests.findLast(({ annotations }) => annotations[TAG_ANNOTATION] === tag);
    if (!found) throw new ImageError('unknown-image', `No such image: ${path} has no tag ${tag}${among(tags)}`);
    return found;
  }
  if (manifests.length === 1) return first;
  if (manifests.every(({ platform }) => platform)) return choosePlatform(manifests, platform);
  throw new ImageError('unknown-image', `${path} holds ${manifests.length} images: name one${among(tags)}`);
}

function among(tags: string[]): string {
  return tags.length > 0 ? ` (tags: ${tags.slice(0, 10).join(', ')}${tags.length > 10 ? ', ...' : ''})` : '';
}

/** A blob of a layout, of the size that its descriptor says. @throws ImageError `corrupt` */
export function findBlob(
  tree: FileTree,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  what: string,
): TreeFile {
  const file = tree.find(`blobs/sha256/${checkDigest(digest)}`);
  if (!file) throw new ImageError('corrupt', `${tree.path} lacks ${what}, ${digest}`);
  if (file.size !== size) {
    throw new ImageError('corrupt', `${what} has ${file.size} bytes instead of ${size}: ${digest}`);
  }
  return file;
}
