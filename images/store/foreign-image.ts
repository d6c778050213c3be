// Images for other machines, which a build copies files of and continues, and which nothing here
// runs. A name's tag stays with the image for this machine: the others have names by digest.

import { ImageError } from '../errors.js';
import { formatPlatform, normalize, type Platform, suitability } from '../platform.js';
import { type NameReference, parseReference } from '../reference.js';
import { Registry, type RegistryOptions } from '../registry/registry.js';
import { parseJson } from '../source/json.js';
import { type ListedPlatform, parseListedPlatform } from '../source/listed.js';
import type { ResolveOptions } from '../types.js';
import { addImage } from './add-image.js';
import { recordBlobs } from './blobs.js';
import { builtMembers } from './list-record.js';
import { loadFile } from './load-file.js';
import { tryFindImage, unknownImage } from './names.js';
import { pullError } from './pull-image.js';
import { isUsable, readConfig, sha256 } from './record.js';
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
  const found = pull === 'always' && reference.kind === 'name' ? null : tryFindImage(home, reference, text);
  if (found !== null && suits(home, found, platform)) return found;
  if (reference.kind === 'id') {
    if (found === null) throw unknownImage(text);
    throw new ImageError('unsupported', `the image ${text} is not for ${formatPlatform(platform)}`);
  }
  const member = pull === 'always' ? undefined : findBuilt(home, reference, platform);
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

/** The image of a list that a build has made which suits the platform best. */
function findBuilt(home: string, name: NameReference, platform: Platform): string | undefined {
  const rated = builtMembers(home, name).map(({ manifest, image }) => ({
    image,
    suits: manifest.platform === undefined || !isUsable(home, image) ? 0 : rate(manifest.platform, platform),
  }));
  return rated.filter(({ suits }) => suits > 0).sort((one, other) => other.suits - one.suits)[0]?.image;
}

function suits(home: string, id: string, platform: Platform): boolean {
  return (
    isUsable(home, id) && rate(parseListedPlatform(parseJson(readConfig(home, id), 'the image config')), platform) > 0
  );
}

/** As `suitability`. What an image does not say suits every machine. */
function rate({ os, architecture, variant = '' }: ListedPlatform, platform: Platform): number {
  return suitability(
    normalize({
      os: os || platform.os,
      architecture: architecture || platform.architecture,
      variant: variant || platform.variant,
    }),
    platform,
  );
}
