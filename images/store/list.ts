// Lists what is in the store, and its space on the host's disk.

import { join } from 'node:path';
import { toImageError } from '../errors.js';
import { familiarName } from '../reference.js';
import type { ImageSummary, StoreUsage } from '../types.js';
import { bytesOnDisk } from './disk-space.js';
import { heldImages, isRunning } from './holders.js';
import { IMAGES, imagePath, LAYERS, layerPath, TMP } from './layout.js';
import { allNames, imageDigests, list, temporaryImages } from './names.js';
import { manifestsOf } from './pushed.js';
import { layersOf, readRecord } from './record.js';

/** Lists all images but those of running builds, newest first. An image without a name has one line. */
export async function listImages(home: string): Promise<ImageSummary[]> {
  try {
    const names = allNames(home);
    const temporary = temporaryImages(home);
    return summarizeAll(home)
      .filter(({ digest }) => !temporary.has(digest))
      .flatMap((summary) => {
        const own = names.filter((name) => name.digest === summary.digest);
        if (own.length === 0) return [summary];
        // As Docker: a name by digest is shown only if its repository has no tag.
        const manifestIn = manifestsOf(home, summary.digest);
        const tagged = new Set(own.filter(({ name }) => name.tag !== null).map(({ name }) => familiarName(name)));
        return own
          .filter(({ name }) => name.tag !== null || !tagged.has(familiarName(name)))
          .map(({ name }) => ({
            ...summary,
            name: familiarName(name),
            tag: name.tag,
            manifest: manifestIn(name),
          }));
      })
      .sort(
        (a, b) =>
          compare(b.created, a.created) || compare(a.name ?? '', b.name ?? '') || compare(a.tag ?? '', b.tag ?? ''),
      );
  } catch (error) {
    throw toImageError(error, `cannot list the images in ${home}`);
  }
}

/** Describes one image without its names. */
export function summarize(home: string, digest: string): ImageSummary {
  return summarizeAll(home).find((summary) => summary.digest === digest)!;
}

function summarizeAll(home: string): ImageSummary[] {
  const digests = imageDigests(home);
  const layers = new Map(digests.map((digest) => [digest, [...new Set(layersOf(home, digest))]]));
  const users = new Map<string, number>();
  for (const diffId of [...layers.values()].flat()) users.set(diffId, (users.get(diffId) ?? 0) + 1);
  const sizes = new Map([...users.keys()].map((diffId) => [diffId, bytesOnDisk(layerPath(home, diffId))]));
  return digests.map((digest) => {
    const own = layers.get(digest)!;
    const shared = own.filter((diffId) => users.get(diffId)! > 1);
    // A damaged record is skipped: it is made again when the image is used.
    const record = readRecord(home, digest);
    return {
      name: null,
      tag: null,
      digest,
      manifest: record?.manifest ?? null,
      created: record?.config.created ?? '',
      labels: record?.config.Labels ?? {},
      size: sum(own, sizes) + bytesOnDisk(imagePath(home, digest)),
      sharedSize: sum(shared, sizes),
    };
  });
}

function sum(diffIds: string[], sizes: Map<string, number>): number {
  return diffIds.reduce((total, diffId) => total + sizes.get(diffId)!, 0);
}

/** Implements `Store.usage`. */
export async function storeUsage(home: string): Promise<StoreUsage> {
  try {
    const held = heldImages(home);
    const images = summarizeAll(home);
    const active = new Set(
      images.map(({ digest }) => digest).filter((digest) => held.has(digest) || isRunning(home, digest)),
    );
    const needed = new Set([...active].flatMap((digest) => layersOf(home, digest)));
    const used = new Set(images.flatMap(({ digest }) => layersOf(home, digest)));
    const unneeded = [...used].filter((diffId) => !needed.has(diffId)).map((diffId) => layerPath(home, diffId));
    const idle = images.filter(({ digest }) => !active.has(digest)).map(({ digest }) => imagePath(home, digest));
    return {
      images: {
        total: images.length,
        active: active.size,
        size: folderSize(home, IMAGES) + folderSize(home, LAYERS),
        reclaimable: [...unneeded, ...idle].reduce((total, path) => total + bytesOnDisk(path), 0),
      },
      temporary: { total: list(join(home, TMP)).length, size: folderSize(home, TMP) },
    };
  } catch (error) {
    throw toImageError(error, `cannot read the disk usage of the images in ${home}`);
  }
}

function folderSize(home: string, folder: string): number {
  return list(join(home, folder)).reduce((total, name) => total + bytesOnDisk(join(home, folder, name)), 0);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
