// The tar of a stored layer, put together again.

import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ImageError } from '../errors.js';
import { framedLength, readTar } from '../layer/framing.js';
import { readIndex } from './layers.js';
import { DATA, FRAMING, layerPath } from './layout.js';

const PAGE_SIZE = 4096;

/** Bytes of a layer's tar. */
export function tarLength(home: string, diffId: string): number {
  const framing = openSync(join(layerPath(home, diffId), FRAMING), 'r');
  try {
    return framedLength(framing);
  } finally {
    closeSync(framing);
  }
}

/**
 * Streams a layer's tar.
 *
 * @throws ImageError `corrupt` at the end if it does not have the diff-id; `io` if the layer was
 *   removed
 */
export async function* layerTar(home: string, diffId: string): AsyncGenerator<Buffer> {
  const folder = layerPath(home, diffId);
  const index = readIndex(folder);
  if (!index) throw new ImageError('io', `the layer ${diffId} was removed by another process while it was read`);
  const positions = Float64Array.from(Array.from(index.entries(), ({ page }) => page * PAGE_SIZE));
  const framing = openSync(join(folder, FRAMING), 'r');
  const data = openSync(join(folder, DATA), 'r');
  try {
    const hash = createHash('sha256');
    for await (const bytes of readTar(framing, data, positions)) {
      hash.update(bytes);
      yield bytes;
    }
    const digest = `sha256:${hash.digest('hex')}`;
    if (digest !== diffId)
      throw new ImageError('corrupt', `the stored layer ${diffId} is damaged: load the image again`);
  } finally {
    closeSync(framing);
    closeSync(data);
  }
}
