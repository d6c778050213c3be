// Follows descriptors from a first one through indexes and a manifest to an image config, and
// checks each blob against its digest. Reads the formats of OCI (image-spec 1.1, manifest.md and
// image-index.md) and of Docker (distribution, schema 2), from any source of blobs.

import { createHash } from 'node:crypto';
import { ImageError } from '../errors.js';
import { formatPlatform, normalize, type Platform, suitability } from '../platform.js';
import { checkDigest, parseConfig } from './config.js';
import { type Json, list, object, optionalObject, parseJson, string } from './json.js';
import type { SourceImage, SourceLayer } from './source-image.js';

export const OCI_INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
export const DOCKER_LIST_TYPE = 'application/vnd.docker.distribution.manifest.list.v2+json';
export const DOCKER_MANIFEST_TYPE = 'application/vnd.docker.distribution.manifest.v2+json';
export const INDEX_TYPES = [OCI_INDEX_TYPE, DOCKER_LIST_TYPE];
export const MANIFEST_TYPES = ['application/vnd.oci.image.manifest.v1+json', DOCKER_MANIFEST_TYPE];
/** The Accept header of requests for manifests and indexes. */
export const ACCEPT_MANIFESTS = [...MANIFEST_TYPES, ...INDEX_TYPES].join(', ');
export const CONFIG_TYPES = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
];
const LAYER_TYPE =
  /^application\/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip|\+zstd|\+xz)?|docker\.image\.rootfs\.diff\.tar(\.gzip|\.zstd)?)$/;
export const FOREIGN_LAYER_TYPE = /nondistributable|foreign/;
/** Depth of nested image indexes. */
const MAX_INDEX_DEPTH = 4;

export interface Descriptor {
  mediaType: string;
  /** `sha256:<hex>`. */
  digest: string;
  /** Bytes. */
  size: number;
  annotations: Json;
  platform: Platform | null;
}

/** A source of an image's blobs. */
interface BlobSource {
  /** Reads a manifest, an index or a config: at most `MAX_JSON_BYTES`, not yet verified. */
  read(descriptor: Descriptor, what: string): Promise<Buffer>;
  /** Streams a layer, not verified. */
  stream(descriptor: Descriptor): AsyncIterable<Buffer>;
}

/**
 * Follows a descriptor through image indexes to a manifest and its config.
 *
 * @param platform the variant to choose
 * @throws ImageError `not-an-image`, `corrupt`, `unsupported`, `too-large`; the source's errors
 */
export async function openManifest(blobs: BlobSource, first: Descriptor, platform: Platform): Promise<SourceImage> {
  let descriptor = first;
  for (let depth = 0; INDEX_TYPES.includes(descriptor.mediaType); depth++) {
    if (depth === MAX_INDEX_DEPTH) throw new ImageError('corrupt', 'image indexes are nested too deeply');
    const { json } = await readJson(blobs, descriptor, 'an image index');
    descriptor = choosePlatform(list(json.manifests, 'manifests').map(parseDescriptor), platform);
  }
  if (!MANIFEST_TYPES.includes(descriptor.mediaType)) {
    throw new ImageError('unsupported', `manifests of the type ${descriptor.mediaType || "''"} are not supported`);
  }
  const manifest = await readJson(blobs, descriptor, 'the manifest');
  const configDescriptor = parseDescriptor(manifest.json.config);
  if (!CONFIG_TYPES.includes(configDescriptor.mediaType)) {
    throw new ImageError('not-an-image', `it is not a container image but a ${configDescriptor.mediaType || "''"}`);
  }
  const layers = list(manifest.json.layers, "the manifest's layers").map(parseDescriptor);
  for (const { mediaType } of layers) checkLayerType(mediaType);
  const config = await readJson(blobs, configDescriptor, 'the image config');
  const { config: imageConfig, diffIds } = parseConfig(config.bytes, platform);
  if (layers.length !== diffIds.length) {
    throw new ImageError('corrupt', `the manifest has ${layers.length} layers, the image config ${diffIds.length}`);
  }
  return {
    digest: configDescriptor.digest,
    config: imageConfig,
    configBytes: config.bytes,
    manifestBytes: manifest.bytes,
    layers: layers.map(
      (layer, i): SourceLayer => ({
        diffId: diffIds[i]!,
        digest: layer.digest,
        size: layer.size,
        stream: () => blobs.stream(layer),
      }),
    ),
  };
}

/** Parses a descriptor. @throws ImageError `corrupt`, or `unsupported` for sha512 digests */
export function parseDescriptor(value: unknown): Descriptor {
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
    platform: json.platform ? parseDescribedPlatform(json.platform) : null,
  };
}

function parseDescribedPlatform(value: unknown): Platform {
  const json = object(value, "a descriptor's platform");
  return normalize({
    os: string(json.os, "a platform's os"),
    architecture: string(json.architecture, "a platform's architecture"),
    variant: string(json.variant, "a platform's variant"),
  });
}

/**
 * Chooses the variant that suits a machine best, the first among equals. A single descriptor
 * without a platform is chosen too.
 *
 * @throws ImageError `unsupported`
 */
export function choosePlatform(manifests: Descriptor[], machine: Platform): Descriptor {
  let best: Descriptor | null = null;
  let most = 0;
  for (const descriptor of manifests) {
    const suits = descriptor.platform ? suitability(descriptor.platform, machine) : 0;
    if (suits > most) [best, most] = [descriptor, suits];
  }
  if (best) return best;
  const [only, ...others] = manifests;
  if (only && others.length === 0 && !only.platform) return only;
  throw new ImageError('unsupported', `the image has no variant for ${formatPlatform(machine)}`);
}

async function readJson(
  blobs: BlobSource,
  descriptor: Descriptor,
  what: string,
): Promise<{ bytes: Buffer; json: Json }> {
  const bytes = await blobs.read(descriptor, what);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  if (digest !== descriptor.digest) {
    throw new ImageError('corrupt', `${what} does not match its digest: ${digest} instead of ${descriptor.digest}`);
  }
  return { bytes, json: parseManifest(bytes, what) };
}

/**
 * Parses a manifest, an index or a config.
 *
 * @throws ImageError `corrupt`
 */
export function parseManifest(bytes: Buffer, what: string): Json {
  const json = object(parseJson(bytes, what), what);
  // The same bytes must not be an index to one reader and a manifest to another (CVE-2021-41190).
  if (json.manifests !== undefined && (json.layers !== undefined || json.config !== undefined)) {
    throw new ImageError('corrupt', `${what} is both an image index and a manifest`);
  }
  return json;
}

function checkLayerType(mediaType: string): void {
  if (FOREIGN_LAYER_TYPE.test(mediaType)) {
    throw new ImageError('unsupported', `the image has a foreign layer (${mediaType}), whose bytes it does not hold`);
  }
  if (!LAYER_TYPE.test(mediaType)) {
    throw new ImageError('unsupported', `layers of the type ${mediaType || "''"} are not supported`);
  }
}
