// `docker commit`: makes an image from an image and one more layer.

import { ImageError, toImageError } from '../errors.js';
import { applyChanges } from '../import-changes.js';
import { parseName } from '../reference.js';
import { parseConfig, writeConfig } from '../source/config.js';
import type { CommitOptions } from '../types.js';
import { addImage, convertInto } from './add-image.js';
import { readConfig, readRecord, sha256 } from './record.js';
import { openWorkspace } from './workspace.js';

/**
 * Adds a layer to an image of the store.
 *
 * @returns the new image's ID
 * @throws ImageError
 */
export async function commitLayer(
  home: string,
  base: string,
  layer: AsyncIterable<Buffer>,
  { name, config: over, changes = [], author, comment = '', createdBy = '', signal, onProgress }: CommitOptions,
): Promise<string> {
  try {
    const reference = name === undefined ? null : parseName(name);
    if (reference !== null && reference.digest !== null) {
      throw new ImageError('bad-reference', 'cannot commit to a digest reference');
    }
    const record = readRecord(home, base);
    if (record === null) throw new ImageError('unknown-image', `No such image: ${base}`);
    const before = JSON.parse(readConfig(home, base).toString()) as { history?: object[] };
    const created = new Date().toISOString();
    const config = applyChanges({ ...record.config, ...over, created }, changes);
    await using workspace = await openWorkspace(home, signal);
    const added = { digest: null, size: null, stream: () => layer };
    const diffId = await convertInto(workspace, added, null, onProgress, signal);
    const diffIds = [...record.layers.map((below) => below.diffId), diffId];
    const written = JSON.parse(writeConfig(config, diffIds, comment).toString()) as object;
    const step = { created, created_by: createdBy, author, comment };
    const configBytes = Buffer.from(JSON.stringify({ ...written, author, history: [...(before.history ?? []), step] }));
    const image = {
      digest: sha256(configBytes),
      config: parseConfig(configBytes).config,
      configBytes,
      manifestBytes: null,
      layers: diffIds.map((id) => ({ ...added, diffId: id, stream: () => gone(id) })),
    };
    await addImage(home, workspace, image, reference, onProgress, signal);
    return image.digest;
  } catch (error) {
    signal?.throwIfAborted();
    throw toImageError(error, `cannot commit to ${name ?? 'an image'}`);
  }
}

/**
 * The layers are in the store and their image is held, so none is read again unless it was removed
 * by force.
 */
function gone(diffId: string): never {
  throw new ImageError('unknown-image', `the layer ${diffId} of the image has been removed`);
}
