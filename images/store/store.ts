// The store of one $TSVM_HOME: what is on the way of every run is here, the rest is loaded when it is asked for.

import { toImageError } from '../errors.js';
import { parseReference } from '../reference.js';
import type { Image, ResolveOptions, Store } from '../types.js';
import { findRecord } from './names.js';
import { imageOf } from './record.js';

/**
 * The store under `home`, which need not exist yet. Reads nothing until it is asked something, and writes nothing until
 * an image is added or removed.
 */
export function openStore(home: string): Store {
  return {
    async resolve(reference, options = {}) {
      try {
        return await resolve(home, reference, options);
      } catch (error) {
        throw toImageError(error, `cannot read the image ${reference}`);
      }
    },
    async import(source, name, options = {}) {
      const { importRootfs } = await import('./import-rootfs.js');
      return importRootfs(home, source, name, options);
    },
    async list() {
      const { listImages } = await import('./list.js');
      return listImages(home);
    },
    async remove(reference) {
      const { removeImage } = await import('./remove.js');
      return removeImage(home, reference);
    },
  };
}

async function resolve(home: string, text: string, options: ResolveOptions): Promise<Image> {
  const reference = parseReference(text);
  if (reference.kind === 'name' || reference.kind === 'id') {
    return imageOf(home, findRecord(home, reference, text));
  }
  const { loadFile } = await import('./load-file.js');
  return loadFile(home, reference, options);
}
