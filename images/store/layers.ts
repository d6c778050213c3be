// The layers of the store: which are whole, and which no image needs.

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { type LayerIndex, readLayerIndex } from '../layer/layer-index.js';
import { DATA, FRAMING, INDEX, LAYERS, layerPath, NEEDS, TMP } from './layout.js';
import { imageDigests, list } from './names.js';
import { layersOf } from './record.js';
import { stepLayers } from './step-record.js';

/**
 * Returns true if a layer is in the store, its index is unchanged and its files have the right
 * lengths.
 */
export function isWhole(home: string, diffId: string): boolean {
  const folder = layerPath(home, diffId);
  try {
    const index = readIndex(folder);
    return (
      index !== null &&
      statSync(join(folder, DATA)).size === index.dataLength &&
      statSync(join(folder, FRAMING)).size > 0
    );
  } catch (error) {
    if (error instanceof ImageError || hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/**
 * Reads a layer's index.
 *
 * @returns null if the store lacks the layer
 * @throws ImageError `corrupt`
 */
export function readIndex(folder: string): LayerIndex | null {
  try {
    return readLayerIndex(readFileSync(join(folder, INDEX)));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

/**
 * Returns the diff-ids of layers that belong to no image and no build step, and that no process
 * needs: the image was removed, or a crash came before it was added.
 */
export function unusedLayers(home: string): string[] {
  const inImages = imageDigests(home).flatMap((digest) => layersOf(home, digest));
  const used = new Set([...inImages, ...stepLayers(home), ...neededLayers(home)]);
  return list(join(home, LAYERS))
    .map((hex) => `sha256:${hex}`)
    .filter((diffId) => !used.has(diffId));
}

/** The layers that processes need which have not made an image of them yet. */
function neededLayers(home: string): string[] {
  const workspaces = list(join(home, TMP)).map((name) => join(home, TMP, name));
  return workspaces.flatMap((path) => list(join(path, NEEDS)).map((digits) => `sha256:${digits}`));
}
