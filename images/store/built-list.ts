// The images of a build of several platforms: in the store, as a list of manifests by each name of
// the build, or as one archive.

import { isSameMachine, MACHINE, type Platform, writtenPlatform } from '../platform.js';
import { familiarReference, fullReference, type NameReference } from '../reference.js';
import { indexOf, type ListedManifest, parseListedPlatform } from '../source/listed.js';
import { OCI_INDEX_TYPE } from '../source/manifest.js';
import { addImage } from './add-image.js';
import { composedImage } from './composed.js';
import { changeMembers } from './list-record.js';
import { type ManifestDescriptor, plainManifest } from './plain-manifest.js';
import { sha256 } from './record.js';
import { untag } from './remove.js';
import { listArchive } from './save.js';
import { openWorkspace } from './workspace.js';

/** An image of layers that are in the store. */
export interface BuiltImage {
  config: Buffer;
  layers: readonly string[];
  platform: Platform;
}

/** The index of the images. */
export function builtIndex(
  home: string,
  images: readonly BuiltImage[],
): { bytes: Buffer; descriptor: ManifestDescriptor; manifests: ListedManifest[] } {
  const manifests = images.map(({ config, layers, platform }) => ({
    ...plainManifest(home, config, layers).descriptor,
    platform: parseListedPlatform(writtenPlatform(platform)),
  }));
  const { bytes } = indexOf(manifests);
  const descriptor = { mediaType: OCI_INDEX_TYPE, digest: sha256(bytes), size: bytes.length } as const;
  return { bytes, descriptor, manifests };
}

export function builtArchive(
  home: string,
  images: readonly BuiltImage[],
  names: readonly NameReference[],
): AsyncIterable<Buffer> {
  const list = { ...builtIndex(home, images), names: new Map(names.map((name) => [familiarReference(name), name])) };
  return listArchive(
    home,
    images.map(({ config, layers }) => ({ config, diffIds: [...layers] })),
    list,
  );
}

/**
 * Adds the images to the store, and a list of them by each name. The image for this machine has the
 * names too, so that it can be run by them; the others are kept by the digests of their manifests. An
 * earlier image of a name loses it.
 *
 * @throws ImageError
 */
export async function addBuilt(
  home: string,
  images: readonly BuiltImage[],
  names: readonly NameReference[],
): Promise<void> {
  const { manifests } = builtIndex(home, images);
  await using workspace = await openWorkspace(home);
  const add = ({ config, layers }: BuiltImage, name: NameReference | null) =>
    addImage(home, workspace, composedImage(config, layers), name, undefined);
  if (names.length === 0) for (const image of images) await add(image, null);
  for (const name of names) {
    const members = manifests.map((manifest, index) => {
      const byDigest = { ...name, tag: null, digest: manifest.digest };
      const repository = `${name.domain}/${name.path}`;
      return { name: fullReference(byDigest), repository, manifest, image: sha256(images[index]!.config), byDigest };
    });
    for (const [index, { byDigest }] of members.entries()) await add(images[index]!, byDigest);
    const own = images.find(({ platform }) => isSameMachine(platform, MACHINE));
    if (own === undefined) await untag(home, name);
    else await add(own, name);
    await changeMembers(home, name, () => members.map(({ byDigest: _, ...member }) => member));
  }
}
