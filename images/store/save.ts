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
import { damaged, readConfig, sha256 } from './record.js';

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';

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
  for (const [digest, { config, diffIds, names }] of images) {
    blobs.set(digest, config);
    const layers = diffIds.map((diffId): Descriptor => {
      const size = tarLength(home, diffId);
      blobs.set(diffId, { diffId, size });
      return { mediaType: LAYER_TYPE, digest: diffId, size };
    });
    const manifest = toJson({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: { mediaType: CONFIG_TYPE, digest, size: config.length },
      layers,
    });
    blobs.set(sha256(manifest), manifest);
    const descriptor = { mediaType: MANIFEST_TYPE, digest: sha256(manifest), size: manifest.length };
    if (names.size === 0) index.push(descriptor);
    for (const name of names.values()) index.push({ ...descriptor, annotations: annotationsOf(name) });
    dockerManifest.push({
      Config: blobName(digest),
      RepoTags: [...names.keys()],
      Layers: diffIds.map(blobName),
    });
  }
  yield* file('oci-layout', toJson({ imageLayoutVersion: '1.0.0' }));
  yield* file('index.json', toJson({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: index }));
  if (isDocker) yield* file('manifest.json', toJson(dockerManifest));
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
