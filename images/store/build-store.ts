// What a build needs of the store: the layers of its steps, the files of layers, and images made of
// layers that are there.

import { randomUUID } from 'node:crypto';
import { closeSync, createReadStream, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import { ImageError, toImageError } from '../errors.js';
import { PAGE_SIZE } from '../layer/data-file.js';
import type { LayerEntry } from '../layer/layer-index.js';
import { type Inode, mergeLayers } from '../layer/merge.js';
import type { Platform } from '../platform.js';
import { familiarReference, type NameReference, parseName } from '../reference.js';
import { parseConfig } from '../source/config.js';
import { directoryTree } from '../source/file-tree.js';
import { type Json, object, parseJson } from '../source/json.js';
import type { PullPolicy } from '../types.js';
import { addImage } from './add-image.js';
import { addBuilt, type BuiltImage, builtArchive, builtIndex } from './built-list.js';
import { composedImage, goneLayer } from './composed.js';
import { findForeign } from './foreign-image.js';
import { readIndex } from './layers.js';
import { DATA, LOCKS, layerPath, STORE } from './layout.js';
import { tryLock } from './lock.js';
import { type ManifestDescriptor, plainManifest } from './plain-manifest.js';
import { readConfig, sha256 } from './record.js';
import { removeImage } from './remove.js';
import { archive } from './save.js';
import { readSteps, type SharedStep, writeSteps } from './shared-steps.js';
import type { StepLayer, StepResult } from './step-record.js';
import {
  addStep,
  findStep,
  openNeeds,
  type PruneSteps,
  pruneSteps,
  type SpooledFile,
  type StepUsage,
  stepUsage,
  takeStep,
  unpackArchive,
} from './steps.js';
import { tagImage } from './tag.js';
import { openWorkspace } from './workspace.js';

/** The files of layers, one above the other. */
export interface LayerTree {
  root: Inode;
  /** The contents of a regular file of the tree. */
  read(inode: Inode): AsyncIterable<Buffer>;
}

/** An image as a build continues it. */
export interface BaseImage {
  /** The image config (OCI image-spec 1.1, config.md), as it came. */
  config: Json;
  /** Diff-ids, from the bottom up. */
  layers: string[];
}

export interface ComposedImage {
  config: Json;
  layers: readonly string[];
  /** `NAME[:TAG]` each. Images that have one of them lose it. */
  names?: readonly string[];
}

/** Images of several platforms. */
export interface ComposedList {
  images: readonly (Omit<ComposedImage, 'names'> & { platform: Platform })[];
  names?: readonly string[];
}

/** The steps of a build. Their layers stay in the store until it is disposed of. */
export interface BuildSteps extends AsyncDisposable {
  /**
   * The result of a step; undefined if it is not in the cache.
   *
   * @param key 64 hexadecimal digits: a hash of all that the step depends on
   */
  find(key: string): Promise<StepResult | undefined>;
  /**
   * Keeps the layer of a step, a plain tar with OCI whiteouts.
   *
   * @param created RFC 3339 time
   * @returns its diff-id; null if it is empty
   */
  add(key: string, tar: AsyncIterable<Buffer>, created: string): Promise<StepLayer>;
  /**
   * Keeps the files of an archive until the end of the build: a tar, plain or compressed with gzip,
   * zstd, xz or bzip2.
   *
   * @returns the diff-id of a layer
   */
  unpack(archive: AsyncIterable<Buffer>): Promise<string>;
  /** Writes a stream to a file that goes with the build. */
  spool(bytes: AsyncIterable<Buffer>): Promise<SpooledFile>;
  /** Makes an empty folder that goes with the build. */
  folder(): string;
  /** Makes an image for a machine of the build. No list shows it, and it is gone with the result. */
  image(image: Omit<ComposedImage, 'names'>): Promise<TemporaryImage>;
  /** Keeps a step of another store. @throws ImageError `corrupt` if its layer is not its own */
  take(key: string, step: SharedStep): Promise<StepResult>;
  /** Locks a name, for all builds. Returns undefined if it is locked. */
  lock(name: string): Disposable | undefined;
}

export interface TemporaryImage extends AsyncDisposable {
  /** `sha256:<hex>`. */
  id: string;
}

/** Every method fails with an ImageError. */
export interface BuildStore {
  /** @param digest the image ID */
  base(digest: string): BaseImage;
  /** Begins a build. */
  begin(): Promise<BuildSteps>;
  /** Reads the names of layers. */
  tree(layers: readonly string[]): LayerTree;
  /** What one layer has, in the order of its tar. */
  entries(layer: string): Iterable<LayerEntry>;
  /** Makes an image of layers that are in the store. Returns its ID. */
  compose(image: ComposedImage): Promise<string>;
  /** Such an image as an archive: an OCI layout, which with `docker` is a docker archive too. */
  archive(image: ComposedImage, format: 'oci' | 'docker'): AsyncIterable<Buffer>;
  /** The ID of such an image, and its manifest as archives have it. It need not be in the store. */
  describe(image: ComposedImage): { id: string; descriptor: ManifestDescriptor };
  /** As `compose`, of several platforms: a list of them has each name. */
  composeList(list: ComposedList): Promise<void>;
  /** As `archive`, of several platforms: an OCI layout with an index. */
  archiveList(list: ComposedList): AsyncIterable<Buffer>;
  /** The index of such a list. */
  describeList(list: ComposedList): ManifestDescriptor;
  /** The ID of an image for another machine than this. */
  foreign(reference: string, platform: Platform, pull: PullPolicy): Promise<string>;
  /** The steps in a folder that `writeSteps` has written, by their keys. */
  readSteps(folder: string): Promise<Map<string, SharedStep>>;
  /** Writes steps, whose layers are in the store, to a folder for other stores. */
  writeSteps(folder: string, steps: ReadonlyMap<string, StepResult>, signal: AbortSignal): Promise<void>;
  usage(): StepUsage;
  prune(options: PruneSteps): Promise<{ removed: number; reclaimed: number }>;
}

/** @param place path of the $TSVM_HOME */
export function buildStore(place: string): BuildStore {
  const home = join(place, STORE);
  return {
    base(digest) {
      const bytes = readConfig(home, digest);
      const config = object(parseJson(bytes, 'the image config'), 'the image config');
      return { config, layers: parseConfig(bytes).diffIds };
    },
    async begin() {
      const needs = await openNeeds(home);
      return {
        find: (key) => findStep(home, key, needs),
        add: (key, tar, created) => addStep(home, key, tar, created, needs),
        take: (key, step) => takeStep(home, key, step, needs),
        unpack: (archive) => unpackArchive(home, archive, needs),
        spool: (bytes) => needs.spool(bytes),
        folder: () => needs.folder(),
        async image(image) {
          // Nothing else has this image: its comment is part of its ID.
          const own = { ...image, config: { ...image.config, comment: randomUUID() } };
          const id = sha256(configOf(own));
          needs.addImage(id);
          await compose(home, own);
          return {
            id,
            async [Symbol.asyncDispose]() {
              await removeImage(home, id, {});
              needs.dropImage(id);
            },
          };
        },
        lock: (name) => lock(home, name),
        [Symbol.asyncDispose]: () => needs[Symbol.asyncDispose](),
      };
    },
    tree: (layers) => readTree(home, layers),
    entries: (layer) => (readIndex(layerPath(home, layer)) ?? goneLayer(layer)).entries(),
    compose: (image) => compose(home, image),
    archive: (image, format) => archiveOf(home, image, format),
    describe(image) {
      const config = configOf(image);
      return { id: sha256(config), descriptor: plainManifest(home, config, image.layers).descriptor };
    },
    async composeList(list) {
      try {
        await addBuilt(home, builtImages(list), referencesOf(list));
      } catch (error) {
        throw toImageError(error, 'cannot add the images that were built');
      }
    },
    archiveList: (list) => builtArchive(home, builtImages(list), referencesOf(list)),
    describeList: (list) => builtIndex(home, builtImages(list)).descriptor,
    async foreign(reference, platform, pull) {
      try {
        return await findForeign(home, reference, platform, { pull });
      } catch (error) {
        throw toImageError(error, `cannot read the image ${reference}`);
      }
    },
    async readSteps(folder) {
      try {
        return await readSteps(directoryTree(folder));
      } catch (error) {
        throw toImageError(error, `cannot read the cache of ${folder}`);
      }
    },
    writeSteps: (folder, steps, signal) => writeSteps(home, folder, steps, signal),
    usage: () => stepUsage(home),
    prune: (options) => pruneSteps(home, options),
  };
}

function readTree(home: string, layers: readonly string[]): LayerTree {
  const indexes = layers.map((diffId) => readIndex(layerPath(home, diffId)) ?? goneLayer(diffId));
  const root = mergeLayers(indexes.map((index) => index.entries()));
  return {
    root,
    async *read({ layer, page, size }) {
      if (size === 0) return;
      const start = page * PAGE_SIZE;
      const path = join(layerPath(home, layers[layer]!), DATA);
      for await (const chunk of createReadStream(path, { start, end: start + size - 1 })) yield chunk as Buffer;
    },
  };
}

function lock(home: string, name: string): Disposable | undefined {
  try {
    mkdirSync(join(home, LOCKS), { recursive: true, mode: 0o700 });
    const fd = openSync(join(home, LOCKS, name), 'a', 0o600);
    if (tryLock(fd)) return new OwnedDescriptor(fd);
    closeSync(fd);
    return undefined;
  } catch (error) {
    throw toImageError(error, `cannot lock ${name}`);
  }
}

function builtImages({ images }: ComposedList): BuiltImage[] {
  return images.map(({ config, layers, platform }) => ({ config: configOf({ config, layers }), layers, platform }));
}

function configOf({ config, layers }: Omit<ComposedImage, 'names'>): Buffer {
  return Buffer.from(JSON.stringify({ ...config, rootfs: { type: 'layers', diff_ids: layers } }));
}

/** @throws ImageError `bad-reference` */
function referencesOf({ names = [] }: Pick<ComposedImage, 'names'>): NameReference[] {
  const references = names.map(parseName);
  if (references.some(({ digest }) => digest !== null)) {
    throw new ImageError('bad-reference', 'cannot build a digest reference');
  }
  return references;
}

function archiveOf(home: string, image: ComposedImage, format: 'oci' | 'docker'): AsyncIterable<Buffer> {
  const config = configOf(image);
  const names = new Map(referencesOf(image).map((name) => [familiarReference(name), name]));
  const saved = { config, diffIds: [...image.layers], names };
  return archive(home, new Map([[sha256(config), saved]]), format === 'docker');
}

async function compose(home: string, composed: ComposedImage): Promise<string> {
  const { layers, names = [] } = composed;
  try {
    const references = referencesOf(composed);
    const configBytes = configOf(composed);
    const image = composedImage(configBytes, layers);
    const { digest } = image;
    await using workspace = await openWorkspace(home);
    await addImage(home, workspace, image, references[0] ?? null, undefined);
    for (const name of names.slice(1)) await tagImage(home, digest, name);
    return digest;
  } catch (error) {
    throw toImageError(error, 'cannot add the image that was built');
  }
}
