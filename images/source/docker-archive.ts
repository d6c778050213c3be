// Reads the output of `docker save`: a tar whose manifest.json names the config and layers of each
// image (moby image-spec v1.2).

import { createHash } from 'node:crypto';
import { ImageError } from '../errors.js';
import { MAX_JSON_BYTES } from '../limits.js';
import { MACHINE } from '../platform.js';
import { parseName } from '../reference.js';
import { parseConfig } from './config.js';
import { type FileTree, readSmall, type TreeFile } from './file-tree.js';
import { list, object, parseJson, string, strings } from './json.js';
import type { NamedImage, SourceImage } from './source-image.js';

interface ManifestItem {
  config: string;
  repoTags: string[];
  layers: string[];
}

/**
 * Finds an image in an archive.
 *
 * @param tag the image's name in the archive (`debian:12`), or null for its only image
 * @throws ImageError `not-an-image`, `unknown-image`, `corrupt`, `unsupported`, `too-large`
 */
export async function openDockerArchive(tree: FileTree, tag: string | null): Promise<SourceImage> {
  return openItem(tree, choose(await readManifest(tree), tag, tree.path));
}

/**
 * Lists the images of an archive.
 *
 * @throws ImageError `not-an-image`, `corrupt`, `too-large`
 */
export async function listDockerArchive(tree: FileTree): Promise<NamedImage[]> {
  const items = await readManifest(tree);
  return items.map((item) => ({ names: item.repoTags, open: () => openItem(tree, item) }));
}

async function readManifest(tree: FileTree): Promise<ManifestItem[]> {
  const manifestFile = tree.find('manifest.json');
  if (!manifestFile) {
    throw new ImageError('not-an-image', `${tree.path} is not a docker archive: it has no manifest.json`);
  }
  const manifest = parseJson(await readSmall(manifestFile, MAX_JSON_BYTES, 'manifest.json'), 'manifest.json');
  return list(manifest, 'manifest.json').map(parseItem);
}

async function openItem(tree: FileTree, item: ManifestItem): Promise<SourceImage> {
  const configBytes = await readSmall(find(tree, item.config), MAX_JSON_BYTES, 'the image config');
  const { config, diffIds } = parseConfig(configBytes, MACHINE);
  if (item.layers.length !== diffIds.length) {
    throw new ImageError(
      'corrupt',
      `manifest.json has ${item.layers.length} layers, the image config ${diffIds.length}`,
    );
  }
  return {
    digest: `sha256:${createHash('sha256').update(configBytes).digest('hex')}`,
    config,
    configBytes,
    manifestBytes: null,
    layers: diffIds.map((diffId, i) => {
      const file = find(tree, item.layers[i]!);
      return { diffId, digest: null, size: file.size, stream: () => file.stream() };
    }),
  };
}

function parseItem(value: unknown): ManifestItem {
  const json = object(value, "manifest.json's item");
  return {
    config: string(json.Config, "manifest.json's Config"),
    repoTags: strings(json.RepoTags, "manifest.json's RepoTags"),
    layers: strings(json.Layers, "manifest.json's Layers"),
  };
}

function choose(items: ManifestItem[], tag: string | null, path: string): ManifestItem {
  const [first] = items;
  if (first === undefined) throw new ImageError('not-an-image', `${path} holds no image`);
  if (tag === null) {
    if (items.length === 1) return first;
    throw new ImageError('unknown-image', `${path} holds ${items.length} images: name one (${names(items)})`);
  }
  const wanted = canonical(tag);
  const found = items.find(({ repoTags }) =>
    repoTags.some((name) => name === tag || (wanted !== null && canonical(name) === wanted)),
  );
  if (!found) throw new ImageError('unknown-image', `No such image: ${path} has no ${tag} (${names(items)})`);
  return found;
}

function names(items: ManifestItem[]): string {
  const all = items.flatMap(({ repoTags }) => repoTags);
  return all.length > 0 ? `it has ${all.slice(0, 10).join(', ')}${all.length > 10 ? ', ...' : ''}` : 'none has a name';
}

/**
 * The full form of a name, so that `debian:12` finds `docker.io/library/debian:12`; null if it is
 * invalid.
 */
function canonical(name: string): string | null {
  try {
    const { domain, path, tag } = parseName(name);
    return `${domain}/${path}:${tag}`;
  } catch {
    return null;
  }
}

function find(tree: FileTree, name: string): TreeFile {
  const file = tree.find(name);
  if (!file) throw new ImageError('corrupt', `${tree.path} lacks a file that its manifest.json names`);
  return file;
}
