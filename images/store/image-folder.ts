// An image's own files: its config and manifest as the source gave them, and two files derived from
// the config and the layers: the metadata of its disk, and its record.

import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { writeErofs } from '../erofs/writer.js';
import type { LayerIndex } from '../layer/layer-index.js';
import { mergeLayers } from '../layer/merge.js';
import { parseConfig } from '../source/config.js';
import type { Image, ImageConfig } from '../types.js';
import { isWhole, readIndex } from './layers.js';
import { DISK, imagePath, layerPath, MANIFEST, RECORD } from './layout.js';
import { damaged, type ImageRecord, imageOf, newRecord, readConfig, readIfThere, sha256 } from './record.js';
import { openWorkspace, syncDirectory, writeSynced } from './workspace.js';

interface DiskSource {
  digest: string;
  config: ImageConfig;
  manifestBytes: Buffer | null;
  diffIds: string[];
}

/** Writes the disk's metadata and the record into `folder`. */
export async function writeDisk(folder: string, image: DiskSource, indexes: LayerIndex[]): Promise<ImageRecord> {
  const root = mergeLayers(indexes.map((index) => index.entries()));
  const metadata = writeErofs(
    root,
    indexes.map((index) => index.dataLength),
    image.digest,
  );
  const record = newRecord({
    digest: image.digest,
    manifest: image.manifestBytes && sha256(image.manifestBytes),
    config: image.config,
    metadataLength: metadata.length,
    metadataDigest: sha256(metadata),
    layers: image.diffIds.map((diffId, i) => ({ diffId, dataLength: indexes[i]!.dataLength })),
  });
  await writeSynced(join(folder, DISK), metadata);
  await writeSynced(join(folder, RECORD), JSON.stringify(record));
  return record;
}

/**
 * Makes an image's disk and record again from its config and layers.
 *
 * @throws ImageError `corrupt` if the config or a layer is damaged too
 */
export async function rebuild(home: string, digest: string): Promise<Image> {
  const { config, diffIds } = parseConfig(readConfig(home, digest));
  const manifestBytes = readIfThere(join(imagePath(home, digest), MANIFEST));
  await using workspace = await openWorkspace(home);
  const indexes = diffIds.map((diffId) => {
    const index = isWhole(home, diffId) ? readIndex(layerPath(home, diffId)) : null;
    if (!index) throw damaged(digest);
    return index;
  });
  const record = await writeDisk(workspace.path, { digest, config, manifestBytes, diffIds }, indexes);
  // A crash between the renames leaves a record that does not match the disk. Both are then made
  // again.
  for (const name of [DISK, RECORD]) await rename(join(workspace.path, name), join(imagePath(home, digest), name));
  await syncDirectory(imagePath(home, digest));
  const image = imageOf(home, record);
  if (!image) throw damaged(digest);
  return image;
}
