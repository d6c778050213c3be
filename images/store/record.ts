// An image's record: all that a run needs to know of it, in one small file.

import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ImageError } from '../errors.js';
import type { Extent, Image, ImageConfig } from '../types.js';
import { DISK, imagePath, layerPath, RECORD } from './layout.js';

const VERSION = 1;

export interface ImageRecord {
  version: typeof VERSION;
  /** `sha256:<hex>` of the config. */
  digest: string;
  /** `sha256:<hex>` of the manifest, or null. */
  manifest: string | null;
  config: ImageConfig;
  /** Bytes of disk.erofs. */
  metadataLength: number;
  /** From the bottom up; `dataLength` in bytes. */
  layers: { diffId: string; dataLength: number }[];
}

export function newRecord(fields: Omit<ImageRecord, 'version'>): ImageRecord {
  return { version: VERSION, ...fields };
}

/**
 * Reads an image's record.
 *
 * @param digest `sha256:<hex>`
 * @returns null if the store has no such image
 * @throws ImageError `corrupt`
 */
export function readRecord(home: string, digest: string): ImageRecord | null {
  let text: string;
  try {
    text = readFileSync(join(imagePath(home, digest), RECORD), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  let record: ImageRecord | null = null;
  try {
    record = JSON.parse(text) as ImageRecord;
  } catch {
    // Reported below, with the records of other versions.
  }
  if (record?.version !== VERSION) throw damaged(digest);
  return record;
}

/**
 * Checks that an image's files are there and gives its disk.
 *
 * @throws ImageError `corrupt`
 */
export function imageOf(home: string, record: ImageRecord): Image {
  const disk: Extent[] = [extent(join(imagePath(home, record.digest), DISK), record.metadataLength)];
  for (const { diffId, dataLength } of record.layers) {
    // A layer without contents adds nothing to the disk.
    if (dataLength > 0) disk.push(extent(join(layerPath(home, diffId), 'data'), dataLength));
  }
  for (const { path, length } of disk) {
    if (statSync(path, { throwIfNoEntry: false })?.size !== length) throw damaged(record.digest);
  }
  return { digest: record.digest, config: record.config, disk };
}

function extent(path: string, length: number): Extent {
  return { path, offset: 0, length };
}

function damaged(digest: string): ImageError {
  return new ImageError('corrupt', `the stored image ${digest} is damaged: remove it and import it again`);
}
