// What is in the store.

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { toImageError } from '../errors.js';
import { familiarName } from '../reference.js';
import type { ImageSummary } from '../types.js';
import { imagePath, layerPath } from './layout.js';
import { allNames, imageDigests, list } from './names.js';
import { readRecord } from './record.js';

/** All images, newest first; one that has no name is listed once, without. */
export async function listImages(home: string): Promise<ImageSummary[]> {
  try {
    const names = allNames(home);
    return imageDigests(home)
      .flatMap((digest) => {
        const summary = summarize(home, digest);
        if (!summary) return [];
        const own = names.filter((name) => name.digest === digest);
        if (own.length === 0) return [summary];
        return own.map(({ name }) => ({ ...summary, name: familiarName(name), tag: name.tag }));
      })
      .sort(
        (a, b) =>
          compare(b.created, a.created) || compare(a.name ?? '', b.name ?? '') || compare(a.tag ?? '', b.tag ?? ''),
      );
  } catch (error) {
    throw toImageError(error, `cannot list the images in ${home}`);
  }
}

/** What there is to say of one image, its names aside; null if it has gone. */
export function summarize(home: string, digest: string): ImageSummary | null {
  const record = readRecord(home, digest);
  if (!record) return null;
  const folders = new Set(record.layers.map(({ diffId }) => layerPath(home, diffId)));
  folders.add(imagePath(home, digest));
  let size = 0;
  for (const folder of folders) size += bytesOnDisk(folder);
  return { name: null, tag: null, digest, created: record.config.created, size };
}

function bytesOnDisk(folder: string): number {
  let size = 0;
  for (const name of list(folder)) size += (statSync(join(folder, name), { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  return size;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
