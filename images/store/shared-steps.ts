// The cache of builds in a folder, for other hosts: an OCI image layout (OCI image-spec 1.1,
// image-layout.md) of one manifest, whose layers are those of steps, uncompressed, and whose config
// lists the steps by their keys.

import { createHash, randomUUID } from 'node:crypto';
import { constants, createReadStream, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { hasCode } from '../../errors/index.js';
import { O_PATH } from '../../libc/openat2.js';
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import { ImageError, toImageError } from '../errors.js';
import { MAX_JSON_BYTES } from '../limits.js';
import { directoryTree, type FileTree, readSmall } from '../source/file-tree.js';
import { list, object, parseJson, string } from '../source/json.js';
import { parseDescriptor } from '../source/manifest.js';
import { findBlob, readLayoutIndex } from '../source/oci.js';
import { layerTar, tarLength } from './layer-tar.js';
import { hex } from './layout.js';
import { sha256 } from './record.js';
import { KEY, type StepResult } from './step-record.js';

const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';
const CONFIG_TYPE = 'application/vnd.tsvm.build-cache.v1+json';
const INDEX = 'index.json';

/** A step of another store. */
export interface SharedStep extends StepResult {
  /** Bytes of the layer's tar. */
  size: number;
  /** The tar of the layer, as it was found: the caller checks its digest. */
  tar(): AsyncIterable<Buffer>;
}

/**
 * Reads the list of a folder that `writeSteps` has written. Layers are read when they are asked for.
 *
 * @returns steps by their keys
 * @throws ImageError `not-an-image`, `corrupt`, `too-large`
 */
export async function readSteps(tree: FileTree): Promise<Map<string, SharedStep>> {
  const [descriptor] = await readLayoutIndex(tree);
  if (descriptor === undefined) throw new ImageError('not-an-image', `${tree.path} holds no cache of builds`);
  const json = async (wanted: { digest: string; size: number }, what: string) => {
    const bytes = await readSmall(findBlob(tree, wanted, what), MAX_JSON_BYTES, what);
    if (sha256(bytes) !== wanted.digest) throw new ImageError('corrupt', `${what} of ${tree.path} is damaged`);
    return object(parseJson(bytes, what), what);
  };
  const manifest = await json(descriptor, 'the manifest');
  const config = parseDescriptor(manifest.config);
  if (config.mediaType !== CONFIG_TYPE) throw new ImageError('not-an-image', `${tree.path} is no cache of builds`);
  const layers = new Map(
    list(manifest.layers, 'the layers').map((value) => {
      const layer = parseDescriptor(value);
      return [layer.digest, layer] as const;
    }),
  );
  const steps = new Map<string, SharedStep>();
  for (const value of list((await json(config, 'the list of steps')).steps, 'the steps')) {
    const { key, step } = parseStep(object(value, 'a step'));
    const layer = step.layer === null ? { digest: '', size: 0 } : layers.get(step.layer);
    if (layer === undefined) throw new ImageError('corrupt', `${tree.path} lacks a layer of its list`);
    const tar = () => findBlob(tree, layer, 'a layer').stream();
    steps.set(key, { ...step, size: layer.size, tar });
  }
  return steps;
}

function parseStep(json: Record<string, unknown>): { key: string; step: StepResult } {
  const [key, created] = [string(json.key, 'a key'), string(json.created, 'a time')];
  const layer = json.layer === null ? null : string(json.layer, 'a layer');
  const time = Date.parse(created);
  if (!KEY.test(key) || Number.isNaN(time)) throw new ImageError('corrupt', 'the list of steps is damaged');
  return { key, step: { layer, created: new Date(time).toISOString() } };
}

/**
 * Writes steps and their layers to a folder, which has nothing else of a cache afterwards. A reader
 * at the same time, and one after a crash, finds the old list or the new one. What was in the folder
 * before may be hostile, or another layout: no link leads out of it, and no file of others is removed.
 *
 * @throws ImageError
 */
export async function writeSteps(
  home: string,
  folder: string,
  steps: ReadonlyMap<string, StepResult>,
  signal?: AbortSignal,
): Promise<void> {
  try {
    mkdirSync(folder, { recursive: true });
    await refuseOthers(folder);
    using place = new OwnedDescriptor(openSync(folder, O_PATH | constants.O_DIRECTORY));
    using algorithms = openFolder(place, 'blobs');
    using opened = openFolder(algorithms, 'sha256');
    const blobs = pathOf(opened);
    const replace = async (path: string, bytes: Iterable<Buffer> | AsyncIterable<Buffer>) => {
      // Aside: a link of that name is replaced, not followed. What a crash leaves is no blob, and goes below.
      const aside = join(blobs, randomUUID());
      try {
        const file = await open(aside, 'wx', 0o644);
        await pipeline(bytes, file.createWriteStream({ flush: true }), { signal });
        renameSync(aside, path);
      } catch (error) {
        rmSync(aside, { force: true });
        throw error;
      }
    };
    const layers = [...new Set([...steps.values()].flatMap(({ layer }) => layer ?? []))];
    for (const layer of layers) {
      signal?.throwIfAborted();
      const path = join(blobs, hex(layer));
      if (!(await hasDigest(path, layer))) await replace(path, layerTar(home, layer));
    }
    const listed = [...steps].map(([key, { layer, created }]) => ({ key, layer, created }));
    const config = toJson({ steps: listed });
    const manifest = toJson({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: { mediaType: CONFIG_TYPE, digest: sha256(config), size: config.length },
      layers: layers.map((digest) => ({ mediaType: LAYER_TYPE, digest, size: tarLength(home, digest) })),
    });
    for (const bytes of [config, manifest]) await replace(join(blobs, hex(sha256(bytes))), [bytes]);
    await replace(join(pathOf(place), 'oci-layout'), [toJson({ imageLayoutVersion: '1.0.0' })]);
    const described = { digest: sha256(manifest), size: manifest.length, artifactType: CONFIG_TYPE };
    const manifests = [{ mediaType: MANIFEST_TYPE, ...described }];
    const index = toJson({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests });
    await replace(join(pathOf(place), INDEX), [index]);
    const kept = new Set([...layers, sha256(config), sha256(manifest)].map(hex));
    for (const name of readdirSync(blobs)) {
      if (!kept.has(name)) rmSync(join(blobs, name), { recursive: true, force: true });
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw toImageError(error, `cannot write the cache to ${folder}`);
  }
}

/** @throws ImageError `in-use` for an OCI layout of something else: its files would be removed */
async function refuseOthers(folder: string): Promise<void> {
  const index = directoryTree(folder).find(INDEX);
  if (index === null) return;
  const json = object(parseJson(await readSmall(index, MAX_JSON_BYTES, INDEX), INDEX), INDEX);
  for (const value of list(json.manifests, `${INDEX}'s manifests`)) {
    if (object(value, 'a descriptor').artifactType === CONFIG_TYPE) continue;
    throw new ImageError(
      'in-use',
      `${folder} has images, or a cache of another program: give the cache its own folder`,
    );
  }
}

/** Opens a folder of a folder, which is made if it is missing. It is no link. */
function openFolder(above: OwnedDescriptor, name: string): OwnedDescriptor {
  const path = join(pathOf(above), name);
  try {
    mkdirSync(path);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
  return new OwnedDescriptor(openSync(path, O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW));
}

function pathOf({ fd }: OwnedDescriptor): string {
  return `/proc/self/fd/${fd}`;
}

/** Whether a file of an earlier build is whole. */
async function hasDigest(path: string, digest: string): Promise<boolean> {
  const hash = createHash('sha256');
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    for await (const chunk of createReadStream('', { fd, highWaterMark: 1 << 20 })) hash.update(chunk);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ELOOP', 'EISDIR')) return false;
    throw error;
  }
  return `sha256:${hash.digest('hex')}` === digest;
}

function toJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
