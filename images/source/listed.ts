// The members of an image index or a manifest list: their descriptors with all that tells them
// apart, and the index that is made of them (OCI image-spec 1.1, image-index.md; Docker's
// distribution, manifest list).

import { ImageError } from '../errors.js';
import { MAX_JSON_BYTES, MAX_LIST_MEMBERS } from '../limits.js';
import { list, object, string, stringMap, strings } from './json.js';
import { DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, MANIFEST_TYPES, OCI_INDEX_TYPE, parseDescriptor } from './manifest.js';

/** A platform as an index writes it, unlike `Platform` in no canonical spelling. */
export interface ListedPlatform {
  architecture: string;
  os: string;
  variant?: string;
  'os.version'?: string;
  'os.features'?: string[];
}

/** The descriptor of an image's manifest. */
export interface ListedManifest {
  mediaType: string;
  /** `sha256:<hex>`. */
  digest: string;
  /** Bytes. */
  size: number;
  platform?: ListedPlatform;
  annotations?: Record<string, string>;
  artifactType?: string;
}

/** @throws ImageError `corrupt`, `unsupported` */
export function parseListed(value: unknown): ListedManifest {
  const { mediaType, digest, size } = parseDescriptor(value);
  if (!MANIFEST_TYPES.includes(mediaType)) {
    throw new ImageError('unsupported', `a list of members of the type ${mediaType || "''"} is not supported`);
  }
  const json = object(value, 'a descriptor');
  const annotations = stringMap(json.annotations, "a descriptor's annotations");
  const artifactType = string(json.artifactType, "a descriptor's artifactType");
  return {
    mediaType,
    digest,
    size,
    ...(json.platform ? { platform: parseListedPlatform(json.platform) } : {}),
    ...(Object.keys(annotations).length > 0 && { annotations }),
    ...(artifactType !== '' && { artifactType }),
  };
}

/**
 * Parses the platform of a descriptor or of an image config, which have the same fields.
 *
 * @throws ImageError `corrupt`
 */
export function parseListedPlatform(value: unknown): ListedPlatform {
  const json = object(value, 'a platform');
  return platformOf({
    architecture: string(json.architecture, "a platform's architecture"),
    os: string(json.os, "a platform's os"),
    variant: string(json.variant, "a platform's variant"),
    osVersion: string(json['os.version'], "a platform's os.version"),
    osFeatures: strings(json['os.features'], "a platform's os.features"),
  });
}

/** What `manifest annotate` may change; what is undefined stays. */
export interface PlatformChange {
  architecture?: string;
  os?: string;
  variant?: string;
  osVersion?: string;
  osFeatures?: string[];
}

/** The platform with what a change says. */
export function changedPlatform(platform: ListedPlatform | undefined, change: PlatformChange): ListedPlatform {
  return platformOf({
    architecture: change.architecture ?? platform?.architecture ?? '',
    os: change.os ?? platform?.os ?? '',
    variant: change.variant ?? platform?.variant ?? '',
    osVersion: change.osVersion ?? platform?.['os.version'] ?? '',
    osFeatures: change.osFeatures ?? platform?.['os.features'] ?? [],
  });
}

function platformOf({ architecture, os, variant, osVersion, osFeatures }: Required<PlatformChange>): ListedPlatform {
  return {
    architecture,
    os,
    ...(variant !== '' && { variant }),
    ...(osVersion !== '' && { 'os.version': osVersion }),
    ...(osFeatures.length > 0 && { 'os.features': osFeatures }),
  };
}

/** The members of an index. @throws ImageError `corrupt`, `unsupported`, `too-large` */
export function parseMembers(index: { manifests?: unknown }): ListedManifest[] {
  const members = list(index.manifests, "an image index's manifests");
  checkCount(members.length);
  return members.map(parseListed);
}

/**
 * Makes an index: Docker's manifest list if all members are Docker's manifests, else OCI's.
 *
 * @throws ImageError `too-large`
 */
export function indexOf(members: readonly ListedManifest[]): { bytes: Buffer; mediaType: string } {
  checkCount(members.length);
  const isDocker = members.every(({ mediaType }) => mediaType === DOCKER_MANIFEST_TYPE);
  const mediaType = isDocker ? DOCKER_LIST_TYPE : OCI_INDEX_TYPE;
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests: members }));
  if (bytes.length > MAX_JSON_BYTES) {
    throw new ImageError('too-large', `the list has ${bytes.length} bytes; the limit is ${MAX_JSON_BYTES}`);
  }
  return { bytes, mediaType };
}

function checkCount(count: number): void {
  if (count <= MAX_LIST_MEMBERS) return;
  throw new ImageError('too-large', `the list has ${count} manifests; the limit is ${MAX_LIST_MEMBERS}`);
}
