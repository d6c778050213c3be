// Images for other machines, which a build copies files of and continues, and which nothing here
// runs. A name's tag stays with the image for this machine: the others have names by digest.

import { ImageError } from '../errors.js';
import { formatPlatform, isFor, type Platform } from '../platform.js';
import { type NameReference, parseReference } from '../reference.js';
import { Registry, type RegistryOptions } from '../registry/registry.js';
import type { ResolveOptions } from '../types.js';
import { addImage } from './add-image.js';
import { recordBlobs } from './blobs.js';
import { readMembers } from './list-record.js';
import { loadFile } from './load-file.js';
import { tryFindImage, unknownImage } from './names.js';
import { pullError } from './pull-image.js';
import { isUsable, readRecord, sha256 } from './record.js';
import { openWorkspace } from './workspace.js';

/**
 * Finds an image for a platform: in the store, among the members of a list that a build has made, or
 * in its registry, which is asked each time.
 *
 * @returns its ID
 * @throws ImageError
 */
export async function findForeign(
  home: string,
  text: string,
  platform: Platform,
  { pull = 'missing', onProgress }: Pick<ResolveOptions, 'pull' | 'onProgress'> = {},
  registryOptions?: RegistryOptions,
): Promise<string> {
  const reference = parseReference(text);
  if (reference.kind !== 'name' && reference.kind !== 'id') {
    return await loadFile(home, reference, { platform: formatPlatform(platform) });
  }
  const isForIt = (id: string) => isUsable(home, id) && isFor(readRecord(home, id)?.config, platform);
  const found = pull === 'always' && reference.kind === 'name' ? null : tryFindImage(home, reference, text);
  if (found !== null && isForIt(found)) return found;
  if (reference.kind === 'id') {
    if (found === null) throw unknownImage(text);
    throw new ImageError('unsupported', `the image ${text} is not for ${formatPlatform(platform)}`);
  }
  const built = pull === 'always' ? [] : (readMembers(home, reference) ?? []).flatMap(({ image }) => image ?? []);
  const member = built.find(isForIt);
  if (member !== undefined) return member;
  if (pull === 'never') throw unknownImage(text);
  const name: NameReference = reference.digest === null ? reference : { ...reference, tag: null };
  try {
    using registry = new Registry(registryOptions);
    const { image } = await registry.find(name, platform);
    const { digest, manifestBytes } = image;
    const own = manifestBytes === null ? null : { ...name, tag: null, digest: sha256(manifestBytes) };
    await using workspace = await openWorkspace(home);
    await addImage(home, workspace, image, own, onProgress);
    const seen = image.layers.flatMap((layer) =>
      layer.digest === null ? [] : [[layer.diffId, { digest: layer.digest }] as const],
    );
    await recordBlobs(home, `${name.domain}/${name.path}`, new Map(seen));
    return digest;
  } catch (error) {
    throw pullError(error, text);
  }
}
