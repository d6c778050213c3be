// Finds images in a directory or an archive, and adds them to the store if it lacks them.

import { createWriteStream, statSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { compressionOf, MAGIC_SIZE } from '../compression.js';
import { ImageError, toImageError } from '../errors.js';
import { MACHINE, parsePlatform } from '../platform.js';
import { type FileReference, familiarReference, type NameReference, parseName } from '../reference.js';
import { indexArchive } from '../source/archive.js';
import { listDockerArchive, openDockerArchive } from '../source/docker-archive.js';
import { archiveTree, directoryTree, type FileTree, readStart, wholeFile } from '../source/file-tree.js';
import { listOciLayout, openOciLayout } from '../source/oci.js';
import type { LoadedImage, LoadOptions, ResolveOptions } from '../types.js';
import type { OnProgress } from './add-image.js';
import { unknownImage } from './names.js';
import { isUsable } from './record.js';
import type { Workspace } from './workspace.js';

/**
 * Finds the image that a file reference names, and adds it to the store.
 *
 * @returns the image ID
 * @throws ImageError
 */
export async function loadFile(home: string, reference: FileReference, options: ResolveOptions): Promise<string> {
  const { path, kind, tag } = reference;
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw unknownImage(`${path} does not exist`);
  const platform = options.platform === undefined ? MACHINE : parsePlatform(options.platform);
  const open = kind === 'docker-archive' ? openDockerArchive : openOciLayout;
  const take = async (tree: FileTree, opened: Workspace | null) => {
    const image = await open(tree, tag, platform);
    if (isUsable(home, image.digest)) return image.digest;
    const [{ openWorkspace }, { addImage }] = await Promise.all([import('./workspace.js'), import('./add-image.js')]);
    await using own = opened ? null : await openWorkspace(home);
    await addImage(home, opened ?? own!, image, null, options.onProgress);
    return image.digest;
  };
  if (kind === 'oci') {
    if (!stat.isDirectory()) throw new ImageError('not-an-image', `${path} is not a directory`);
    return take(directoryTree(path), null);
  }
  if (!stat.isFile()) throw new ImageError('not-an-image', `${path} is not a file`);
  if (compressionOf(await readStart(path, MAGIC_SIZE)) === 'none') {
    return take(archiveTree(path, indexArchive(path)), null);
  }
  const { openWorkspace } = await import('./workspace.js');
  await using workspace = await openWorkspace(home);
  return await take(await spooledTree(workspace, path, wholeFile(path, stat.size).stream()), workspace);
}

/** The files of an archive that cannot be read in place because it is compressed or a stream. */
async function spooledTree(workspace: Workspace, path: string, bytes: AsyncIterable<Buffer>): Promise<FileTree> {
  const { decompress } = await import('../decompress.js');
  const plain = join(workspace.path, 'archive.tar');
  await pipeline(workspace.budget.counted(decompress(bytes)), createWriteStream(plain, { mode: 0o600 }));
  return archiveTree(path, indexArchive(plain));
}

/** Implements `Store.load`. */
export async function loadArchive(
  home: string,
  source: string | AsyncIterable<Buffer>,
  options: LoadOptions,
): Promise<LoadedImage[]> {
  const path = typeof source === 'string' ? source : 'the archive';
  try {
    const { openWorkspace } = await import('./workspace.js');
    const stat = typeof source === 'string' ? statSync(source, { throwIfNoEntry: false }) : null;
    if (stat === undefined) throw new ImageError('not-an-image', 'no such file');
    if (stat?.isDirectory()) return await loadTree(home, null, directoryTree(path), options.onProgress);
    if (stat?.isFile() && compressionOf(await readStart(path, MAGIC_SIZE)) === 'none') {
      return await loadTree(home, null, archiveTree(path, indexArchive(path)), options.onProgress);
    }
    await using workspace = await openWorkspace(home);
    const bytes = typeof source === 'string' ? wholeFile(source, 0).stream() : source;
    return await loadTree(home, workspace, await spooledTree(workspace, path, bytes), options.onProgress);
  } catch (error) {
    if (error instanceof ImageError && error.code !== 'no-permission') {
      throw new ImageError(error.code, `cannot load ${path}: ${error.message}`, { cause: error });
    }
    throw toImageError(error, `cannot load ${path}`);
  }
}

/**
 * Archives of `docker save` are an OCI layout and, for older versions of Docker, also a docker
 * archive.
 */
async function loadTree(
  home: string,
  opened: Workspace | null,
  tree: FileTree,
  onProgress: OnProgress,
): Promise<LoadedImage[]> {
  const images = tree.find('index.json') ? await listOciLayout(tree) : await listDockerArchive(tree);
  if (images.length === 0) throw new ImageError('not-an-image', 'it contains no image');
  // Checks all names before anything is added.
  const named = images.map(({ names, open }) => ({ names: names.map(parseName).filter(isTag), open }));
  const [{ openWorkspace }, { addImage }] = await Promise.all([import('./workspace.js'), import('./add-image.js')]);
  await using own = opened ? null : await openWorkspace(home);
  const loaded: LoadedImage[] = [];
  for (const { names, open } of named) {
    const image = await open();
    for (const name of names.length > 0 ? names : [null]) {
      await addImage(home, opened ?? own!, image, name, onProgress);
    }
    loaded.push({ digest: image.digest, names: names.map(familiarReference) });
  }
  return loaded;
}

/** Only the registry that the image came from can give a name by digest. */
function isTag({ digest }: NameReference): boolean {
  return digest === null;
}
