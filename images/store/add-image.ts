// Brings an image into the store: converts the layers that the store lacks, writes the disk's
// metadata, then renames all of it into place under the store's lock, which is held briefly.
// Nothing is visible before that. A failure or a crash leaves only a workspace, which the next
// process sweeps.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { compressionOf, MAGIC_SIZE } from '../compression.js';
import { decompress } from '../decompress.js';
import { ImageError, type ImageErrorCode } from '../errors.js';
import { convertLayer } from '../layer/convert.js';
import { checkTotalLength, type LayerIndex } from '../layer/layer-index.js';
import { familiarReference, type NameReference } from '../reference.js';
import type { SourceImage, SourceLayer } from '../source/source-image.js';
import type { Progress } from '../types.js';
import { blobsFile } from './blobs.js';
import { writeDisk } from './image-folder.js';
import { isWhole, readIndex } from './layers.js';
import { BLOBS, CONFIG, DATA, DISK, FRAMING, hex, INDEX, imagePath, layerPath, MANIFEST } from './layout.js';
import { exchange, withStoreLock } from './lock.js';
import { imageDigests } from './names.js';
import { isUsable, layersOf, readRecord, sha256 } from './record.js';
import { putName } from './tag.js';
import { moveTo, syncDirectory, type Workspace, writeSynced } from './workspace.js';

/**
 * Layers converted at the same time. One layer is decompressed and written while another is hashed.
 */
const PARALLEL_LAYERS = 3;
/** How often layers are converted again if another process removes them meanwhile. */
const MAX_ATTEMPTS = 5;

export type OnProgress = ((progress: Progress) => void) | undefined;

/**
 * Adds an image, and a name for it if one is given. If the store has the whole image already, only
 * the name is added.
 *
 * @param signal once aborted, the wait for the store's lock fails with its reason
 * @throws ImageError
 */
export async function addImage(
  home: string,
  workspace: Workspace,
  image: SourceImage,
  name: NameReference | null,
  onProgress: OnProgress,
  signal?: AbortSignal,
): Promise<void> {
  const locked = (change: () => Promise<boolean>) => withStoreLock(home, change, signal);
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    if (isThere(home, image) && (await locked(() => nameExisting(home, workspace, image, name)))) return;
    const what = name === null ? image.digest : familiarReference(name);
    await convertMissing(home, workspace, image.layers, what, onProgress);
    const indexes = readIndexes(home, workspace, image.layers);
    if (!indexes) continue;
    const folder = await makeImageFolder(workspace, image, indexes);
    onProgress?.({ phase: 'disk', layer: '', done: 0, total: undefined });
    if (await locked(() => publish(home, workspace, image, folder, name))) return;
  }
  throw new ImageError('io', 'other processes keep removing the layers of this image: try again');
}

/** What is converted to a layer. */
export interface Convertible extends Omit<SourceLayer, 'diffId'> {
  /** It is no layer of an image, but another archive. */
  allowsBzip2?: boolean;
}

/**
 * Converts a stream to a layer in the workspace.
 *
 * @param expected the diff-id that the contents must have; null accepts any
 * @param signal once aborted, the conversion fails with its reason
 * @returns the layer's diff-id
 * @throws ImageError
 */
export async function convertInto(
  workspace: Workspace,
  layer: Convertible,
  expected: string | null,
  onProgress: OnProgress,
  signal?: AbortSignal,
): Promise<string> {
  const folder = join(workspace.path, `layer-${createHash('sha256').update(`${expected}`).digest('hex')}`);
  await mkdir(folder, { mode: 0o700 });
  const blobHash = createHash('sha256');
  const diffHash = createHash('sha256');
  let done = 0;
  let start: Buffer = Buffer.alloc(0);
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of layer.stream()) {
      signal?.throwIfAborted();
      done += chunk.length;
      if (layer.size !== null && done > layer.size) throw mismatch(`it is longer than ${layer.size} bytes`);
      if (layer.digest !== null) blobHash.update(chunk);
      if (start.length < MAGIC_SIZE) start = Buffer.concat([start, chunk.subarray(0, MAGIC_SIZE)]);
      onProgress?.({ phase: 'layer', layer: layer.digest ?? expected ?? '', done, total: layer.size ?? undefined });
      yield chunk;
    }
  }
  async function* hashed(): AsyncGenerator<Buffer> {
    for await (const chunk of workspace.budget.counted(decompress(counted(), layer))) {
      diffHash.update(chunk);
      yield chunk;
    }
  }
  const data = await open(join(folder, DATA), 'wx', 0o600);
  const framing = await open(join(folder, FRAMING), 'wx', 0o600);
  let index: Buffer;
  try {
    ({ index } = await convertLayer(hashed(), data, framing));
  } finally {
    await Promise.all([data.close(), framing.close()]);
  }
  if (expected === null && done === 0) throw new ImageError('not-an-image', 'it is not a tar archive');
  if (layer.size !== null && done !== layer.size) throw mismatch(`it is ${done} bytes instead of ${layer.size}`);
  if (layer.digest !== null) {
    const digest = `sha256:${blobHash.digest('hex')}`;
    if (digest !== layer.digest) throw mismatch(`its digest is ${digest}`);
  }
  const diffId = `sha256:${diffHash.digest('hex')}`;
  if (expected !== null && diffId !== expected) {
    throw new ImageError('corrupt', `its contents do not match the image config: ${diffId} instead of ${expected}`);
  }
  await writeSynced(join(folder, INDEX), index);
  const compression = compressionOf(start);
  if (layer.digest !== null && compression !== 'bzip2') {
    const blob = { digest: layer.digest, size: done, compression, isOurs: false, repositories: [] };
    await writeSynced(join(folder, BLOBS), blobsFile([blob]));
  }
  await workspace.budget.check();
  await syncDirectory(folder);
  await rename(folder, workspaceLayer(workspace, diffId));
  return diffId;
}

function mismatch(how: string): ImageError {
  return new ImageError('corrupt', `it is damaged: ${how}`);
}

/** Faults of an image, not of the host or of a connection. */
const FAULTS: readonly ImageErrorCode[] = ['corrupt', 'not-an-image', 'too-large', 'unsupported'];

/** Names the layer and the image that an error is about. */
function ofLayer(error: unknown, { digest, diffId }: SourceLayer, what: string): unknown {
  if (!(error instanceof ImageError) || !FAULTS.includes(error.code)) return error;
  return new ImageError(error.code, `layer ${digest ?? diffId} of ${what}: ${error.message}`, { cause: error });
}

function workspaceLayer(workspace: Workspace, diffId: string): string {
  return join(workspace.path, hex(diffId));
}

async function convertMissing(
  home: string,
  workspace: Workspace,
  layers: SourceLayer[],
  what: string,
  onProgress: OnProgress,
): Promise<void> {
  const missing = new Map<string, SourceLayer>();
  for (const layer of layers) {
    if (!isWhole(home, layer.diffId) && !existsSync(workspaceLayer(workspace, layer.diffId))) {
      missing.set(layer.diffId, layer);
    }
  }
  const queue = [...missing.values()];
  // The first failure stops the other conversions.
  const stop = new AbortController();
  async function work(): Promise<void> {
    for (let layer = queue.shift(); layer && !stop.signal.aborted; layer = queue.shift()) {
      try {
        await convertInto(workspace, layer, layer.diffId, onProgress, stop.signal);
      } catch (error) {
        stop.abort(ofLayer(error, layer, what));
      }
    }
  }
  await Promise.all(Array.from({ length: PARALLEL_LAYERS }, work));
  stop.signal.throwIfAborted();
}

/** Returns null if a layer was removed from the store after it was found there. */
function readIndexes(home: string, workspace: Workspace, layers: SourceLayer[]): LayerIndex[] | null {
  const indexes = new Map<string, LayerIndex>();
  for (const { diffId } of layers) {
    if (indexes.has(diffId)) continue;
    const own = workspaceLayer(workspace, diffId);
    const index = readIndex(existsSync(own) ? own : layerPath(home, diffId));
    if (index === null) return null;
    indexes.set(diffId, index);
    checkTotalLength(indexes.values());
  }
  return layers.map(({ diffId }) => indexes.get(diffId)!);
}

async function makeImageFolder(workspace: Workspace, image: SourceImage, indexes: LayerIndex[]): Promise<string> {
  const folder = await mkdtemp(join(workspace.path, 'image-'));
  await writeDisk(folder, { ...image, diffIds: image.layers.map(({ diffId }) => diffId) }, indexes);
  await writeSynced(join(folder, CONFIG), image.configBytes);
  if (image.manifestBytes) await writeSynced(join(folder, MANIFEST), image.manifestBytes);
  await syncDirectory(folder);
  return folder;
}

/**
 * Renames everything into place. Returns false if a layer is gone. The caller holds the store's
 * lock.
 */
async function publish(
  home: string,
  workspace: Workspace,
  image: SourceImage,
  folder: string,
  name: NameReference | null,
): Promise<boolean> {
  const own: string[] = [];
  for (const diffId of new Set(image.layers.map((layer) => layer.diffId))) {
    if (existsSync(workspaceLayer(workspace, diffId))) own.push(diffId);
    else if (!existsSync(layerPath(home, diffId))) return false;
  }
  await workspace.budget.check();
  for (const diffId of own) await publishLayer(home, workspace, diffId);
  if (!isThere(home, image)) await publishFolder(folder, imagePath(home, image.digest));
  if (name) await putName(home, workspace, image.digest, name);
  return true;
}

async function nameExisting(
  home: string,
  workspace: Workspace,
  image: SourceImage,
  name: NameReference | null,
): Promise<boolean> {
  if (!isThere(home, image)) return false;
  if (name) await putName(home, workspace, image.digest, name);
  return true;
}

/** Returns true if the store has the image with everything that `addImage` would make. */
function isThere(home: string, { digest, manifestBytes, layers }: SourceImage): boolean {
  if (manifestBytes !== null && readRecord(home, digest)?.manifest !== sha256(manifestBytes)) return false;
  return isUsable(home, digest) && layers.every(({ diffId }) => isWhole(home, diffId));
}

/** Moves a layer of the workspace into the store. The caller holds the store's lock. */
export async function publishLayer(home: string, workspace: Workspace, diffId: string): Promise<void> {
  const path = layerPath(home, diffId);
  // Another process has added it meanwhile.
  if (isWhole(home, diffId)) return;
  // A damaged layer is replaced. The new data file may place contents elsewhere, so the disks made
  // from this layer are deleted. They are made again when they are needed.
  if (existsSync(path)) {
    for (const digest of imageDigests(home)) {
      if (layersOf(home, digest).includes(diffId)) await rm(join(imagePath(home, digest), DISK), { force: true });
    }
  }
  await publishFolder(workspaceLayer(workspace, diffId), path);
}

/**
 * Moves a folder into the store. A folder already there takes its place in the workspace and is
 * deleted with it.
 */
async function publishFolder(from: string, to: string): Promise<void> {
  if (!existsSync(to)) return moveTo(from, to);
  exchange(from, to);
  await syncDirectory(dirname(to));
}
