// Images that lie in a directory or an archive: found there, and brought into the store unless it has them.

import { createWriteStream, statSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { compressionOf, MAGIC_SIZE } from '../compression.js';
import { ImageError } from '../errors.js';
import type { FileReference } from '../reference.js';
import { indexArchive } from '../source/archive.js';
import { openDockerArchive } from '../source/docker-archive.js';
import { archiveTree, directoryTree, type FileTree, readStart, wholeFile } from '../source/file-tree.js';
import { openOciLayout } from '../source/oci.js';
import type { Image, ResolveOptions } from '../types.js';
import { unknownImage } from './names.js';
import { imageOf, readRecord } from './record.js';
import type { Workspace } from './workspace.js';

/**
 * Finds the image that a file reference names.
 *
 * @throws ImageError
 */
export async function loadFile(home: string, reference: FileReference, options: ResolveOptions): Promise<Image> {
  const stat = statSync(reference.path, { throwIfNoEntry: false });
  if (!stat) throw new ImageError('unknown-image', `No such image: ${reference.path} does not exist`);
  if (reference.kind === 'oci') {
    if (!stat.isDirectory()) throw new ImageError('not-an-image', `${reference.path} is not a directory`);
    return load(home, null, directoryTree(reference.path), reference, options);
  }
  if (!stat.isFile()) throw new ImageError('not-an-image', `${reference.path} is not a file`);
  if (compressionOf(await readStart(reference.path, MAGIC_SIZE)) === 'none') {
    return load(home, null, archiveTree(reference.path, indexArchive(reference.path)), reference, options);
  }
  const [{ openWorkspace }, { decompress }] = await Promise.all([import('./workspace.js'), import('../decompress.js')]);
  await using workspace = await openWorkspace(home);
  const plain = join(workspace.path, 'archive.tar');
  await pipeline(decompress(wholeFile(reference.path, stat.size).stream()), createWriteStream(plain));
  return await load(home, workspace, archiveTree(reference.path, indexArchive(plain)), reference, options);
}

/** @param workspace where the archive is, if it had to be decompressed */
async function load(
  home: string,
  workspace: Workspace | null,
  tree: FileTree,
  reference: FileReference,
  { onProgress }: ResolveOptions,
): Promise<Image> {
  const open = reference.kind === 'docker-archive' ? openDockerArchive : openOciLayout;
  const image = await open(tree, reference.tag);
  const known = readRecord(home, image.digest);
  if (known) return imageOf(home, known);
  const [{ openWorkspace }, { addImage }] = await Promise.all([import('./workspace.js'), import('./add-image.js')]);
  if (workspace) {
    await addImage(home, workspace, image, null, onProgress);
  } else {
    await using own = await openWorkspace(home);
    await addImage(home, own, image, null, onProgress);
  }
  const added = readRecord(home, image.digest);
  // Another process can have removed it since.
  if (!added) throw unknownImage(image.digest);
  return imageOf(home, added);
}
