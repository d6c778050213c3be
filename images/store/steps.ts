// The cache of builds: which layer a step made, by a key that holds all that the step depends on. A
// layer with a key stays in the store until the key is pruned.

import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { toImageError } from '../errors.js';
import { convertInto, publishLayer } from './add-image.js';
import { bytesOnDisk } from './disk-space.js';
import { isWhole, readIndex, unusedLayers } from './layers.js';
import { hex, IMAGES, layerPath, NEEDS, STEPS } from './layout.js';
import { withStoreLock } from './lock.js';
import { imageDigests, list, ownImageFile } from './names.js';
import { layersOf } from './record.js';
import type { SharedStep } from './shared-steps.js';
import { KEY, readStep, type StepLayer, type StepResult, stepContents } from './step-record.js';
import {
  destroy,
  discard,
  moveTo,
  openWorkspace,
  syncDirectory,
  takeWaste,
  type Workspace,
  writeSynced,
} from './workspace.js';

/** Layers that a build needs, though no image has them yet. They stay in the store until its end. */
export interface Needs extends AsyncDisposable {
  /** The caller holds the store's lock. */
  add(layer: StepLayer): void;
  /** Called before the image is in the store. It goes with the build. */
  addImage(digest: string): void;
  /** Called once the image is out of the store. */
  dropImage(digest: string): void;
  /** Writes bytes to a file that goes with the build. */
  spool(bytes: AsyncIterable<Buffer>): Promise<SpooledFile>;
  /** Makes an empty folder that goes with the build. */
  folder(): string;
}

/** Bytes that came as a stream. */
export interface SpooledFile {
  path: string;
  size: number;
  /** SHA-256, in hexadecimal digits. */
  sha256: string;
}

/** Begins a build. Its layers are kept while its process lives. */
export async function openNeeds(home: string): Promise<Needs> {
  const workspace = await openWorkspace(home);
  const folder = join(workspace.path, NEEDS);
  mkdirSync(folder, { mode: 0o700 });
  mkdirSync(join(workspace.path, IMAGES), { mode: 0o700 });
  return {
    add(layer) {
      if (layer !== null) writeFileSync(join(folder, hex(layer)), '');
    },
    addImage: (digest) => writeFileSync(ownImageFile(workspace.path, digest), ''),
    dropImage: (digest) => rmSync(ownImageFile(workspace.path, digest)),
    spool: (bytes) => spool(workspace, bytes),
    folder: () => makeFolder(workspace.path),
    [Symbol.asyncDispose]: () => workspace[Symbol.asyncDispose](),
  };
}

async function spool(workspace: Workspace, bytes: AsyncIterable<Buffer>): Promise<SpooledFile> {
  const path = join(workspace.path, `spooled-${randomUUID()}`);
  const hash = createHash('sha256');
  let size = 0;
  try {
    await pipeline(
      workspace.budget.counted(bytes),
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          size += chunk.length;
          yield chunk;
        }
      },
      createWriteStream(path, { flags: 'wx', mode: 0o600 }),
    );
  } catch (error) {
    rmSync(path, { force: true });
    throw ofSystem(error, 'cannot keep a file of a build');
  }
  return { path, size, sha256: hash.digest('hex') };
}

function makeFolder(place: string): string {
  try {
    return mkdtempSync(join(place, 'folder-'));
  } catch (error) {
    throw toImageError(error, 'cannot make a folder for a build');
  }
}

/** Turns an error of a system call into an `ImageError`. Those of a source stay what they are. */
function ofSystem(error: unknown, doing: string): unknown {
  return error instanceof Error && 'syscall' in error ? toImageError(error, doing) : error;
}

/**
 * Finds the layer of a step, and notes that it was used.
 *
 * @param key 64 hexadecimal digits
 * @returns undefined if the cache lacks it
 */
export async function findStep(home: string, key: string, needs: Needs): Promise<StepResult | undefined> {
  return withStoreLock(home, async () => {
    const found = readStep(home, key);
    if (found === undefined || (found.layer !== null && !isWhole(home, found.layer))) return undefined;
    needs.add(found.layer);
    const now = new Date();
    utimesSync(join(home, STEPS, key), now, now);
    return found;
  });
}

/**
 * Converts the layer of a step, and keeps it by its key.
 *
 * @param tar plain
 * @param created RFC 3339 time
 * @throws ImageError
 */
export async function addStep(
  home: string,
  key: string,
  tar: AsyncIterable<Buffer>,
  created: string,
  needs: Needs,
): Promise<StepLayer> {
  return keepStep(home, key, { size: null, created, tar: () => tar }, null, needs);
}

/**
 * Keeps the step of another store.
 *
 * @throws ImageError `corrupt` if its layer is not what its list says
 */
export async function takeStep(home: string, key: string, step: SharedStep, needs: Needs): Promise<StepResult> {
  const { layer, created } = step;
  if (layer !== null) return { layer: await keepStep(home, key, step, layer, needs), created };
  try {
    await using workspace = await openWorkspace(home);
    await withStoreLock(home, () => putStep(home, workspace, key, step));
    return { layer, created };
  } catch (error) {
    throw toImageError(error, 'cannot keep a step of a build');
  }
}

/** @param expected the diff-id that the layer must have; null accepts any */
async function keepStep(
  home: string,
  key: string,
  { size, created, tar }: Omit<SharedStep, 'layer' | 'size'> & { size: number | null },
  expected: string | null,
  needs: Needs,
): Promise<StepLayer> {
  try {
    await using workspace = await openWorkspace(home);
    const layer = { digest: null, size, stream: tar };
    const diffId = await convertInto(workspace, layer, expected, undefined);
    const made = join(workspace.path, hex(diffId));
    const isEmpty = readIndex(made)?.count === 0;
    await withStoreLock(home, async () => {
      await workspace.budget.check();
      if (!isEmpty) {
        needs.add(diffId);
        await publishLayer(home, workspace, diffId);
      }
      await putStep(home, workspace, key, { layer: isEmpty ? null : diffId, created });
    });
    return isEmpty ? null : diffId;
  } catch (error) {
    throw toImageError(error, 'cannot keep the layer of a build');
  }
}

/**
 * Unpacks an archive into a layer that has no key: it goes with the build.
 *
 * @param archive a tar, plain or compressed
 * @returns its diff-id
 * @throws ImageError; the errors of the archive's stream
 */
export async function unpackArchive(home: string, archive: AsyncIterable<Buffer>, needs: Needs): Promise<string> {
  try {
    await using workspace = await openWorkspace(home);
    const layer = { digest: null, size: null, stream: () => archive, allowsBzip2: true };
    const diffId = await convertInto(workspace, layer, null, undefined);
    await withStoreLock(home, async () => {
      await workspace.budget.check();
      needs.add(diffId);
      await publishLayer(home, workspace, diffId);
    });
    return diffId;
  } catch (error) {
    throw ofSystem(error, 'cannot unpack an archive');
  }
}

async function putStep(home: string, workspace: Workspace, key: string, result: StepResult): Promise<void> {
  if (!KEY.test(key)) throw new RangeError(`not a key: ${key}`);
  const file = join(workspace.path, `step-${randomUUID()}`);
  await writeSynced(file, stepContents(result));
  await moveTo(file, join(home, STEPS, key));
}

/** The cache of builds on the disk. */
export interface StepUsage {
  total: number;
  /** Bytes of layers that only the cache keeps. */
  size: number;
}

export function stepUsage(home: string): StepUsage {
  const inImages = new Set(imageDigests(home).flatMap((digest) => layersOf(home, digest)));
  const keys = list(join(home, STEPS));
  const layers = new Set(keys.flatMap((key) => readStep(home, key)?.layer ?? []));
  let size = 0;
  for (const layer of layers) if (!inImages.has(layer)) size += bytesOnDisk(layerPath(home, layer));
  return { total: keys.length, size };
}

export interface PruneSteps {
  /** Only those that were last used before this time, in milliseconds since 1970. */
  before?: number | undefined;
  /** Bytes of the cache that may stay: the last used. Default: none. */
  keep?: number | undefined;
}

/**
 * Removes keys, oldest use first, and the layers that nothing else has.
 *
 * @throws ImageError
 */
export async function pruneSteps(home: string, options: PruneSteps): Promise<{ removed: number; reclaimed: number }> {
  try {
    if (list(home).length === 0) return { removed: 0, reclaimed: 0 };
    let removed = 0;
    const waste = await withStoreLock(home, async () => {
      const waste = await takeWaste(home);
      const folder = join(home, STEPS);
      for (const { key } of goingSteps(home, options)) {
        await unlink(join(folder, key));
        removed++;
      }
      if (removed > 0) await syncDirectory(folder);
      for (const diffId of unusedLayers(home)) waste.push(await discard(home, layerPath(home, diffId)));
      return waste;
    });
    let reclaimed = 0;
    for (const path of waste) reclaimed += bytesOnDisk(path);
    await destroy(waste);
    return { removed, reclaimed };
  } catch (error) {
    throw toImageError(error, 'cannot prune the cache of builds');
  }
}

/** The keys to remove. */
function goingSteps(home: string, { before = Number.POSITIVE_INFINITY, keep = 0 }: PruneSteps): { key: string }[] {
  const inImages = new Set(imageDigests(home).flatMap((digest) => layersOf(home, digest)));
  const counted = new Set<string>();
  let kept = 0;
  return list(join(home, STEPS))
    .map((key) => ({ key, layer: readStep(home, key)?.layer, used: statSync(join(home, STEPS, key)).mtimeMs }))
    .sort((a, b) => b.used - a.used)
    .filter(({ layer, used }) => {
      if (typeof layer === 'string' && !inImages.has(layer) && !counted.has(layer)) {
        counted.add(layer);
        kept += bytesOnDisk(layerPath(home, layer));
      }
      return used < before && (keep === 0 || kept > keep);
    });
}
