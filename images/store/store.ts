// The store of one $TSVM_HOME. The code that every run needs is here. The rest is imported on first
// use.

import { join } from 'node:path';
import { ImageError, toImageError } from '../errors.js';
import { checkPlatform, formatPlatform, isFor, isSameMachine, MACHINE, parsePlatform } from '../platform.js';
import { parseReference } from '../reference.js';
import type { Image, ResolveOptions, Store } from '../types.js';
import { STORE } from './layout.js';
import { findImage, tryFindImage } from './names.js';
import { imageOf, readRecord } from './record.js';

/**
 * Opens the store of a $TSVM_HOME, which need not exist yet. Nothing is read until a method is
 * called, and nothing is written until an image is added or removed.
 *
 * @param place path of the $TSVM_HOME
 */
export function openStore(place: string): Store {
  const home = join(place, STORE);
  return {
    async resolve(reference, options = {}) {
      try {
        return await resolve(home, reference, options);
      } catch (error) {
        throw toImageError(error, `cannot read the image ${reference}`);
      }
    },
    async pull(reference, options = {}) {
      const { pullImage } = await import('./pull-image.js');
      return pullImage(home, reference, options);
    },
    async push(name, options = {}) {
      const { pushImage } = await import('./push-image.js');
      return pushImage(home, name, options);
    },
    async import(source, name, options = {}) {
      const { importRootfs } = await import('./import-rootfs.js');
      return importRootfs(home, source, name, options);
    },
    async commit(base, layer, options = {}) {
      const { commitLayer } = await import('./commit.js');
      return commitLayer(home, base, layer, options);
    },
    async load(source, options = {}) {
      const { loadArchive } = await import('./load-file.js');
      return loadArchive(home, source, options);
    },
    async save(references, output) {
      const { saveImages } = await import('./save.js');
      return saveImages(home, references, output);
    },
    async list() {
      const { listImages } = await import('./list.js');
      return listImages(home);
    },
    async inspect(reference) {
      const { inspectImage } = await import('./inspect.js');
      return inspectImage(home, reference);
    },
    async history(reference) {
      const { historyOf } = await import('./inspect.js');
      return historyOf(home, reference);
    },
    async tag(reference, name) {
      const { tagImage } = await import('./tag.js');
      return tagImage(home, reference, name);
    },
    async remove(reference, options = {}) {
      const { removeImage } = await import('./remove.js');
      return removeImage(home, reference, options);
    },
    async prune(options = {}) {
      const { pruneImages } = await import('./remove.js');
      return pruneImages(home, options);
    },
    async usage() {
      const { storeUsage } = await import('./list.js');
      return storeUsage(home);
    },
    async open(digest) {
      const { openContents } = await import('./extract.js');
      return openContents(home, digest);
    },
    async hold(holder, reference) {
      const { holdImage } = await import('./holders.js');
      return holdImage(home, holder, reference);
    },
    async release(holder) {
      const { releaseImage } = await import('./holders.js');
      return releaseImage(home, holder);
    },
    async holders() {
      const { allHolders } = await import('./holders.js');
      return allHolders(home);
    },
  };
}

async function resolve(home: string, text: string, options: ResolveOptions): Promise<Image> {
  const { pull = 'never', onMissing, ...pullOptions } = options;
  const platform = options.platform === undefined ? MACHINE : parsePlatform(options.platform);
  if (!isSameMachine(platform, MACHINE)) {
    throw new ImageError('unsupported', `containers for ${formatPlatform(platform)} cannot run on this machine`);
  }
  const reference = parseReference(text);
  if (reference.kind !== 'name' && reference.kind !== 'id') {
    const { loadFile } = await import('./load-file.js');
    return usableImage(home, await loadFile(home, reference, options));
  }
  if (pull === 'never' || reference.kind === 'id') return usableImage(home, findImage(home, reference, text));
  const found = pull === 'always' ? null : tryFindImage(home, reference, text);
  // The name may refer to an image for another platform.
  if (found !== null && isFor(readRecord(home, found)?.config, platform)) return usableImage(home, found);
  if (pull === 'missing') onMissing?.(text);
  const { pullImage } = await import('./pull-image.js');
  return usableImage(home, (await pullImage(home, text, pullOptions)).digest);
}

/**
 * Returns an image whose disk is whole. If the disk's metadata are missing or damaged, they are
 * made again from the layers.
 */
async function usableImage(home: string, digest: string): Promise<Image> {
  const record = readRecord(home, digest);
  const whole = record && imageOf(home, record);
  const image = whole ?? (await (await import('./image-folder.js')).rebuild(home, digest));
  checkPlatform(image.config, MACHINE);
  return image;
}
