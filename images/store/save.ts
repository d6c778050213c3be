// Writes images of the store as one archive in two formats, as `docker save` does: an OCI layout
// (OCI image-spec 1.1, image-layout.md) and a docker archive (manifest.json). Layers are written as
// their uncompressed tars. Their digests are known before the tars are put together, so the archive
// can be streamed. They are checked while it is.

import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { toImageError } from '../errors.js';
import { familiarReference, type NameReference } from '../reference.js';
import { parseConfig } from '../source/config.js';
import { END_MARK, fileHeader, filePadding } from '../tar/writer.js';
import { layerTar, tarLength } from './layer-tar.js';
import { isWhole } from './layers.js';
import { hex } from './layout.js';
import { findStored, readName } from './names.js';
import { plainManifest } from './plain-manifest.js';
import { damaged, readConfig, sha256 } from './record.js';

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
}

/** The contents of one file of the archive. */
type Blob = Buffer | { diffId: string; size: number };

export interface SavedImage {
  config: Buffer;
  diffIds: string[];
  /** By familiar name. */
  names: Map<string, NameReference>;
}

/** Implements `Store.save`. */
export async function saveImages(home: string, references: string[], output: Writable): Promise<void> {
  try {
    const images = findImages(home, references);
    // Standard output belongs to the process, so it is left open.
    await pipeline(Readable.from(archive(home, images)), output, { end: output !== process.stdout });
  } catch (error) {
    throw toImageError(error, `cannot save ${references.join(', ')}`);
  }
}

/** The images that the references name, each once, in order. */
function findImages(home: string, references: string[]): Map<string, SavedImage> {
  const images = new Map<string, SavedImage>();
  for (const text of references) {
    const { digest, reference } = findStored(home, text);
    let image = images.get(digest);
    if (!image) {
      const config = readConfig(home, digest);
      image = { config, diffIds: parseConfig(config).diffIds, names: new Map() };
      for (const diffId of image.diffIds) if (!isWhole(home, diffId)) throw damaged(digest);
      images.set(digest, image);
    }
    // A reference that looks like a name can be the beginning of an ID.
    if (reference.kind === 'name' && reference.digest === null && readName(home, reference) === digest) {
      image.names.set(familiarReference(reference), reference);
    }
  }
  return images;
}

/**
 * @param images by ID
 * @param isDocker if false, the archive is an OCI layout alone
 */
export async function* archive(
  home: string,
  images: ReadonlyMap<string, SavedImage>,
  isDocker = true,
): AsyncGenerator<Buffer> {
  const blobs = new Map<string, Blob>();
  const index: Descriptor[] = [];
  const dockerManifest: object[] = [];
  for (const [digest, image] of images) {
    index.push(...named(addBlobs(home, blobs, image), image.names));
    dockerManifest.push({
      Config: blobName(digest),
      RepoTags: [...image.names.keys()],
      Layers: image.diffIds.map(blobName),
    });
  }
  yield* layout(index);
  if (isDocker) yield* file('manifest.json', toJson(dockerManifest));
  yield* blobFiles(home, blobs);
}

/** The images of several platforms as the archive of an OCI layout with one index. */
export async function* listArchive(
  home: string,
  images: readonly Omit<SavedImage, 'names'>[],
  list: { bytes: Buffer; descriptor: Descriptor; names: SavedImage['names'] },
): AsyncGenerator<Buffer> {
  const blobs = new Map<string, Blob>();
  for (const image of images) addBlobs(home, blobs, image);
  blobs.set(list.descriptor.digest, list.bytes);
  yield* layout(named(list.descriptor, list.names));
  yield* blobFiles(home, blobs);
}

/** Adds what an image consists of. Returns the descriptor of its manifest. */
function addBlobs(home: string, blobs: Map<string, Blob>, image: Omit<SavedImage, 'names'>): Descriptor {
  const { config, diffIds } = image;
  const { bytes, descriptor } = plainManifest(home, config, diffIds);
  blobs.set(sha256(config), config);
  for (const diffId of diffIds) blobs.set(diffId, { diffId, size: tarLength(home, diffId) });
  blobs.set(descriptor.digest, bytes);
  return descriptor;
}

/** The descriptor, once for each name. */
function named(descriptor: Descriptor, names: SavedImage['names']): Descriptor[] {
  if (names.size === 0) return [descriptor];
  return [...names.values()].map((name) => ({ ...descriptor, annotations: annotationsOf(name) }));
}

function* layout(index: readonly Descriptor[]): Generator<Buffer> {
  yield* file('oci-layout', toJson({ imageLayoutVersion: '1.0.0' }));
  yield* file('index.json', toJson({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: index }));
}

async function* blobFiles(home: string, blobs: ReadonlyMap<string, Blob>): AsyncGenerator<Buffer> {
  for (const [digest, blob] of blobs) {
    if (Buffer.isBuffer(blob)) {
      yield* file(blobName(digest), blob);
    } else {
      yield fileHeader(blobName(digest), blob.size);
      yield* layerTar(home, blob.diffId);
      yield filePadding(blob.size);
    }
  }
  yield END_MARK;
}

function* file(name: string, bytes: Buffer): Generator<Buffer> {
  yield Buffer.concat([fileHeader(name, bytes.length), bytes, filePadding(bytes.length)]);
}

function blobName(digest: string): string {
  return `blobs/sha256/${hex(digest)}`;
}

function annotationsOf(name: NameReference): Record<string, string> {
  return {
    'io.containerd.image.name': `${name.domain}/${name.path}:${name.tag}`,
    'org.opencontainers.image.ref.name': `${name.tag}`,
  };
}

function toJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
