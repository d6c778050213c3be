// The config of an image in a registry, for a build that is only checked: no layer is read.

import { ImageError, toImageError } from '../errors.js';
import { MACHINE, parsePlatform } from '../platform.js';
import { familiarReference, parseName } from '../reference.js';
import { Registry, type RegistryOptions } from '../registry/registry.js';
import { type Json, object, parseJson } from '../source/json.js';

/**
 * @param text a name, with a tag or a digest
 * @param platform `OS/ARCH[/VARIANT]`; default: this machine's
 * @throws ImageError
 */
export async function remoteConfig(
  text: string,
  platform: string | undefined,
  registryOptions?: RegistryOptions,
): Promise<Json> {
  const name = parseName(text);
  try {
    using registry = new Registry(registryOptions);
    const { image } = await registry.find(name, platform === undefined ? MACHINE : parsePlatform(platform));
    return object(parseJson(image.configBytes, 'the image config'), 'the image config');
  } catch (error) {
    const doing = `cannot read ${familiarReference(name)}`;
    if (!(error instanceof ImageError)) throw toImageError(error, doing);
    if (error.code === 'unknown-image' || error.code === 'unauthorized') throw error;
    throw new ImageError(error.code, `${doing}: ${error.message}`, { cause: error });
  }
}
