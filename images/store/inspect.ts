// Describes an image: its config as the source gave it, in the shape of `docker inspect` and
// `docker history`.

import { existsSync } from 'node:fs';
import { ImageError, toImageError } from '../errors.js';
import { familiarName, familiarReference } from '../reference.js';
import { parseConfig } from '../source/config.js';
import { type Json, list, object, optionalObject, parseJson, string } from '../source/json.js';
import type { HistoryEntry, ImageDetails } from '../types.js';
import { bytesOnDisk } from './disk-space.js';
import { layerPath } from './layout.js';
import { summarize } from './list.js';
import { allNames, findStored } from './names.js';
import { manifestsOf } from './pushed.js';
import { readConfig } from './record.js';

/** What Docker prints for fields that a config lacks. */
const NO_CONFIG = { User: '', Env: null, Cmd: null, Entrypoint: null, Volumes: null, WorkingDir: '', Labels: null };

/** Implements `Store.inspect`. */
export async function inspectImage(home: string, text: string): Promise<ImageDetails> {
  try {
    const { digest } = findStored(home, text);
    const bytes = readConfig(home, digest);
    const { config, diffIds } = parseConfig(bytes);
    const json = rawConfig(bytes);
    const names = allNames(home).filter((name) => name.digest === digest);
    const { size } = summarize(home, digest);
    const manifestIn = manifestsOf(home, digest);
    const byManifest = names.flatMap(({ name }) => {
      const manifest = manifestIn(name);
      return manifest === null ? [] : [`${familiarName(name)}@${manifest}`];
    });
    const byDigest = names.filter(({ name }) => name.digest !== null).map(({ name }) => familiarReference(name));
    return {
      Id: digest,
      RepoTags: names.filter(({ name }) => name.digest === null).map(({ name }) => familiarReference(name)),
      RepoDigests: [...new Set([...byManifest, ...byDigest])],
      Comment: lastComment(json),
      Created: config.created,
      Author: string(json.author, "the image config's author"),
      Config: { ...NO_CONFIG, ...optionalObject(json.config, "the image config's config") },
      Architecture: config.architecture,
      Os: config.os,
      Size: size,
      RootFS: { Type: 'layers', Layers: diffIds },
    };
  } catch (error) {
    throw toImageError(error, `cannot inspect ${text}`);
  }
}

/** Implements `Store.history`. */
export async function historyOf(home: string, text: string): Promise<HistoryEntry[]> {
  try {
    const { digest } = findStored(home, text);
    const bytes = readConfig(home, digest);
    const { diffIds, config } = parseConfig(bytes);
    const layers = [...diffIds];
    const entries = histories(rawConfig(bytes)).map((json): HistoryEntry => {
      const diffId = json.empty_layer === true ? null : (layers.shift() ?? null);
      return {
        created: string(json.created, "the history's created"),
        createdBy: string(json.created_by, "the history's created_by"),
        comment: string(json.comment, "the history's comment"),
        layer: diffId,
        size: diffId === null ? 0 : layerSize(home, diffId),
      };
    });
    // A config may lack the history of its layers.
    for (const layer of layers) {
      entries.push({ created: config.created, createdBy: '', comment: '', layer, size: layerSize(home, layer) });
    }
    return entries.reverse();
  } catch (error) {
    throw toImageError(error, `cannot read the history of ${text}`);
  }
}

function layerSize(home: string, diffId: string): number {
  const path = layerPath(home, diffId);
  if (!existsSync(path)) throw new ImageError('corrupt', `the layer ${diffId} is missing: load the image again`);
  return bytesOnDisk(path);
}

function rawConfig(bytes: Buffer): Json {
  return object(parseJson(bytes, 'the image config'), 'the image config');
}

function histories(config: Json): Json[] {
  return list(config.history, "the image config's history").map((item) => object(item, "the history's item"));
}

function lastComment(config: Json): string {
  return string(histories(config).at(-1)?.comment, "the history's comment");
}
