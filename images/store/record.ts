// An image's record: everything that a run needs to know of the image, in one small file.

import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { ImageError } from '../errors.js';
import { parseConfig } from '../source/config.js';
import type { Extent, Image, ImageConfig } from '../types.js';
import { CONFIG, DATA, DISK, imagePath, layerPath, RECORD } from './layout.js';

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
  /** `sha256:<hex>` of disk.erofs. */
  metadataDigest: string;
  /** From the bottom up. `dataLength` is in bytes. */
  layers: { diffId: string; dataLength: number }[];
}

export function newRecord(fields: Omit<ImageRecord, 'version'>): ImageRecord {
  return { version: VERSION, ...fields };
}

export function sha256(bytes: Buffer | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/**
 * Reads an image's record.
 *
 * @param digest `sha256:<hex>`
 * @returns null if the record is missing or damaged
 */
export function readRecord(home: string, digest: string): ImageRecord | null {
  const text = readIfThere(join(imagePath(home, digest), RECORD));
  if (text === null) return null;
  try {
    const record = JSON.parse(text.toString()) as ImageRecord;
    if (record.version !== VERSION) return null;
    // An older build has not written it.
    if (record.config.Healthcheck === undefined) record.config = parseConfig(readConfig(home, digest)).config;
    return record;
  } catch {
    return null;
  }
}

/**
 * Reads an image's config. Everything else of the image can be made from it and the layers.
 *
 * @throws ImageError `corrupt`
 */
export function readConfig(home: string, digest: string): Buffer {
  const bytes = readIfThere(join(imagePath(home, digest), CONFIG));
  if (bytes === null || sha256(bytes) !== digest) throw damaged(digest);
  return bytes;
}

/**
 * The diff-ids of an image's layers. Returns an empty list if the image is damaged beyond repair.
 */
export function layersOf(home: string, digest: string): string[] {
  const record = readRecord(home, digest);
  if (record) return record.layers.map(({ diffId }) => diffId);
  try {
    return parseConfig(readConfig(home, digest)).diffIds;
  } catch (error) {
    if (error instanceof ImageError) return [];
    throw error;
  }
}

/**
 * Checks an image's files and returns its disk.
 *
 * @returns null if the disk's metadata are missing or have changed since they were written
 * @throws ImageError `corrupt` if a layer is missing or damaged
 */
export function imageOf(home: string, record: ImageRecord): Image | null {
  const metadata = join(imagePath(home, record.digest), DISK);
  const bytes = readIfThere(metadata);
  if (bytes?.length !== record.metadataLength || sha256(bytes) !== record.metadataDigest) return null;
  const disk: Extent[] = [extent(metadata, record.metadataLength)];
  for (const { diffId, dataLength } of record.layers) {
    // A layer without contents adds nothing to the disk.
    if (dataLength === 0) continue;
    const path = join(layerPath(home, diffId), DATA);
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    if (size === undefined) throw damaged(record.digest);
    if (size !== dataLength) return null;
    disk.push(extent(path, dataLength));
  }
  return { digest: record.digest, config: record.config, disk };
}

/** Returns true if the image is in the store and its files are whole. */
export function isUsable(home: string, digest: string): boolean {
  const record = readRecord(home, digest);
  try {
    return record !== null && imageOf(home, record) !== null;
  } catch (error) {
    if (error instanceof ImageError) return false;
    throw error;
  }
}

function extent(path: string, length: number): Extent {
  return { path, offset: 0, length };
}

/** Reads a file. Returns null if it does not exist. */
export function readIfThere(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

export function damaged(digest: string): ImageError {
  return new ImageError('corrupt', `the stored image ${digest} is damaged: load or import it again`);
}
