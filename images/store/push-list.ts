// Pushes a list of manifests: to the repository of its name go the manifests of its members that
// are not there, each after its blobs, and the list last. Images of the store are pushed as `push`
// does, and the list that goes there has the manifests that this gives them. So a push that ends
// early leaves the tag as it was.

import { ImageError } from '../errors.js';
import { MAX_LAYERS } from '../limits.js';
import type { PushCompression } from '../push-compressions.js';
import { type NameReference, parseName } from '../reference.js';
import type { Destination } from '../registry/destination.js';
import type { Registry } from '../registry/registry.js';
import { list } from '../source/json.js';
import { indexOf, type ListedManifest } from '../source/listed.js';
import { type Descriptor, FOREIGN_LAYER_TYPE, parseDescriptor, parseManifest } from '../source/manifest.js';
import type { PushProgress } from '../types.js';
import { copyBlob } from './copy-blob.js';
import type { ListMember } from './list-record.js';
import { inParallel } from './parallel.js';
import { pushStored } from './push-image.js';
import { counted } from './push-layer.js';
import { sha256 } from './record.js';

export interface ListPush {
  home: string;
  registry: Registry;
  /** How layers made here are compressed. */
  compression: PushCompression;
  /** Where the list goes. */
  name: NameReference;
  onProgress: ((progress: PushProgress) => void) | undefined;
  /** Ends what is done at the destination. */
  stop: AbortController;
}

export interface PushedList {
  /** `sha256:<hex>` of the list. */
  digest: string;
  /** Bytes of the list. */
  size: number;
  /**
   * Digests of the members' manifests that the repository did not have, and of the store's images.
   */
  copied: string[];
  /** As `Pushed.recompressed`, of the store's images. */
  recompressed: string[];
}

/** @throws ImageError; the reason of the controller */
export async function pushMembers(members: readonly ListMember[], push: ListPush): Promise<PushedList> {
  const { registry, name, stop } = push;
  const destination = registry.destination(name, stop.signal);
  const copied: string[] = [];
  const recompressed: string[] = [];
  const manifests: ListedManifest[] = [];
  for (const member of members) {
    const { manifest, image } = member;
    if (image !== undefined) {
      const pushed = await pushStored({ ...push, image, destination }, 'digest');
      const { digest, size, mediaType } = pushed;
      manifests.push({ ...manifest, digest, size, mediaType });
      copied.push(digest);
      recompressed.push(...pushed.recompressed);
      continue;
    }
    manifests.push(manifest);
    if (await destination.hasManifest(manifest.digest)) continue;
    await copyMember(member, destination, push);
    copied.push(manifest.digest);
  }
  const { bytes, mediaType } = indexOf(manifests);
  await destination.putManifest(bytes, mediaType, sha256(bytes));
  return { digest: sha256(bytes), size: bytes.length, copied, recompressed: [...new Set(recompressed)] };
}

async function copyMember(member: ListMember, destination: Destination, push: ListPush): Promise<void> {
  const { mediaType, digest } = member.manifest;
  const { bytes } = await push.registry.manifest(parseName(`${member.repository}@${digest}`), push.stop.signal);
  const json = parseManifest(bytes, 'the manifest');
  const layers = list(json.layers, "the manifest's layers");
  if (layers.length > MAX_LAYERS) {
    throw new ImageError('too-large', `a member has ${layers.length} layers; the limit is ${MAX_LAYERS}`);
  }
  // Registries do not hold the bytes of foreign layers.
  const blobs = [parseDescriptor(json.config), ...layers.map(parseDescriptor)].filter(
    (blob) => !FOREIGN_LAYER_TYPE.test(blob.mediaType),
  );
  const different = [...new Map(blobs.map((blob) => [blob.digest, blob])).values()];
  await inParallel(different, push.stop, (blob) => placeBlob(blob, member.repository, destination, push));
  await destination.putManifest(bytes, mediaType, digest, digest);
}

/** Makes a blob of another repository one of the destination, by the cheapest way. */
async function placeBlob(
  blob: Descriptor,
  repository: string,
  destination: Destination,
  push: ListPush,
): Promise<void> {
  const { registry, name, onProgress, stop } = push;
  const { digest, size } = blob;
  const done = (phase: 'present' | 'mounted' | 'pushed', from?: string) =>
    onProgress?.({ phase, layer: digest, done: size, total: size, ...(from !== undefined && { from }) });
  if (await destination.has(digest)) return done('present');
  const path = repository.slice(name.domain.length + 1);
  const isNear = repository === `${name.domain}/${path}` && path !== name.path;
  if (isNear && (await destination.mount(digest, path))) return done('mounted', path);
  const progress = (stream: AsyncIterable<Buffer>) => counted(stream, digest, size, onProgress);
  const copy = { repository, blob, what: 'a blob', progress, signal: stop.signal };
  const failure = await copyBlob(registry, destination, copy);
  if (failure !== null) throw failure;
  done('pushed');
}
