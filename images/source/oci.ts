// An OCI image layout (OCI image-spec 1.1, image-layout.md), in a directory or an archive: from index.json over image
// indexes and the manifest to the config, each checked against the digest that names it.

import { createHash } from 'node:crypto';
import { ImageError } from '../errors.js';
import { MAX_JSON_BYTES } from '../limits.js';
import { checkDigest, parseConfig } from './config.js';
import { type FileTree, readSmall, type TreeFile } from './file-tree.js';
import { type Json, list, object, optionalObject, parseJson, string } from './json.js';
import type { SourceImage, SourceLayer } from './source-image.js';

const INDEX_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const CONFIG_TYPES = ['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json'];
const LAYER_TYPE =
  /^application\/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip|\+zstd|\+xz)?|docker\.image\.rootfs\.diff\.tar(\.gzip|\.zstd)?)$/;
const FOREIGN_LAYER_TYPE = /nondistributable|foreign/;
/** Image indexes in image indexes. */
const MAX_INDEX_DEPTH = 4;
const TAG_ANNOTATION = 'org.opencontainers.image.ref.name';

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations: Json;
  platform: Json | null;
}

/**
 * Finds an image in a layout.
 *
 * @param tag the name annotated in index.json, or null for the only image there is
 * @throws ImageError `not-an-image`, `unknown-image`, `corrupt`, `unsupported`, `too-large`
 */
export async function openOciLayout(tree: FileTree, tag: string | null): Promise<SourceImage> {
  const indexFile = tree.find('index.json');
  if (!indexFile || !tree.find('oci-layout')) {
    throw new ImageError(
      'not-an-image',
      `${tree.path} is not an OCI image layout: it has no oci-layout and index.json`,
    );
  }
  const bytes = await readSmall(indexFile, MAX_JSON_BYTES, 'index.json');
  const index = object(parseJson(bytes, 'index.json'), 'index.json');
  let descriptor = choose(list(index.manifests, "index.json's manifests").map(parseDescriptor), tag, tree.path);
  for (let depth = 0; INDEX_TYPES.includes(descriptor.mediaType); depth++) {
    if (depth === MAX_INDEX_DEPTH) throw new ImageError('corrupt', 'image indexes too deep inside one another');
    const nested = await readJson(tree, descriptor, 'an image index');
    descriptor = choosePlatform(list(nested.json.manifests, 'manifests').map(parseDescriptor));
  }
  if (!MANIFEST_TYPES.includes(descriptor.mediaType)) {
    throw new ImageError('unsupported', `manifests of the type ${descriptor.mediaType} are not supported`);
  }
  const manifest = await readJson(tree, descriptor, 'the manifest');
  const configDescriptor = parseDescriptor(manifest.json.config);
  if (!CONFIG_TYPES.includes(configDescriptor.mediaType)) {
    throw new ImageError('not-an-image', `it is not a container image but a ${configDescriptor.mediaType}`);
  }
  const config = await readJson(tree, configDescriptor, 'the image config');
  const { config: imageConfig, diffIds } = parseConfig(config.bytes);
  const layers = list(manifest.json.layers, "the manifest's layers").map(parseDescriptor);
  if (layers.length !== diffIds.length) {
    throw new ImageError('corrupt', `the manifest has ${layers.length} layers, the image config ${diffIds.length}`);
  }
  return {
    digest: configDescriptor.digest,
    config: imageConfig,
    configBytes: config.bytes,
    manifestBytes: manifest.bytes,
    layers: layers.map((layer, i) => sourceLayer(tree, layer, diffIds[i])),
  };
}

function parseDescriptor(value: unknown): Descriptor {
  const json = object(value, 'a descriptor');
  const digest = string(json.digest, "a descriptor's digest");
  checkDigest(digest);
  if (!Number.isSafeInteger(json.size) || (json.size as number) < 0) {
    throw new ImageError('corrupt', "a descriptor's size is not a number of bytes");
  }
  return {
    mediaType: string(json.mediaType, "a descriptor's mediaType"),
    digest,
    size: json.size as number,
    annotations: optionalObject(json.annotations, "a descriptor's annotations"),
    platform: json.platform ? object(json.platform, "a descriptor's platform") : null,
  };
}

function choose(manifests: Descriptor[], tag: string | null, path: string): Descriptor {
  if (manifests.length === 0) throw new ImageError('not-an-image', `${path} holds no image`);
  const tags = [...new Set(manifests.map(({ annotations }) => annotations[TAG_ANNOTATION]))]
    .filter((name): name is string => typeof name === 'string')
    .sort();
  if (tag !== null) {
    // Of several with one name the last is the newest: tools append.
    const found = manifests.findLast(({ annotations }) => annotations[TAG_ANNOTATION] === tag);
    if (!found) throw new ImageError('unknown-image', `No such image: ${path} has no tag ${tag}${among(tags)}`);
    return found;
  }
  if (manifests.length === 1) return manifests[0];
  if (manifests.every(({ platform }) => platform)) return choosePlatform(manifests);
  throw new ImageError('unknown-image', `${path} holds ${manifests.length} images: name one${among(tags)}`);
}

function among(tags: string[]): string {
  return tags.length > 0 ? ` (tags: ${tags.slice(0, 10).join(', ')}${tags.length > 10 ? ', ...' : ''})` : '';
}

function choosePlatform(manifests: Descriptor[]): Descriptor {
  const found = manifests.find(({ platform }) => platform?.os === 'linux' && platform.architecture === 'amd64');
  if (found) return found;
  if (manifests.length === 1 && !manifests[0].platform) return manifests[0];
  throw new ImageError('unsupported', 'the image has no variant for linux/amd64');
}

async function readJson(tree: FileTree, descriptor: Descriptor, what: string): Promise<{ bytes: Buffer; json: Json }> {
  const bytes = await readSmall(blob(tree, descriptor, what), MAX_JSON_BYTES, what);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  if (digest !== descriptor.digest) {
    throw new ImageError('corrupt', `${what} does not match its digest: ${digest} instead of ${descriptor.digest}`);
  }
  return { bytes, json: object(parseJson(bytes, what), what) };
}

function blob(tree: FileTree, { digest, size }: Descriptor, what: string): TreeFile {
  const file = tree.find(`blobs/sha256/${checkDigest(digest)}`);
  if (!file) throw new ImageError('corrupt', `${tree.path} lacks ${what}, ${digest}`);
  if (file.size !== size) {
    throw new ImageError('corrupt', `${what} has ${file.size} bytes instead of ${size}: ${digest}`);
  }
  return file;
}

function sourceLayer(tree: FileTree, descriptor: Descriptor, diffId: string): SourceLayer {
  const { mediaType, digest, size } = descriptor;
  if (FOREIGN_LAYER_TYPE.test(mediaType)) {
    throw new ImageError('unsupported', `the image has a foreign layer (${mediaType}), whose bytes it does not hold`);
  }
  if (!LAYER_TYPE.test(mediaType)) {
    throw new ImageError('unsupported', `layers of the type ${mediaType || "''"} are not supported`);
  }
  return { diffId, digest, size, stream: () => blob(tree, descriptor, 'a layer').stream() };
}
