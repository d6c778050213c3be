// Takes names and images away. What a running VM has open stays readable for it: its files only lose their names.

import { existsSync } from 'node:fs';
import { rename, rm, rmdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImageError, toImageError } from '../errors.js';
import { familiarReference, type NameReference, parseReference } from '../reference.js';
import type { Removal } from '../types.js';
import { IMAGES, imagePath, LAYERS, layerPath, namePath } from './layout.js';
import { withStoreLock } from './lock.js';
import { allNames, findRecord, imageDigests, list, readName } from './names.js';
import { readRecord } from './record.js';
import { openWorkspace, syncDirectory, type Workspace } from './workspace.js';

/**
 * Takes a name away, and with the last name its image; an ID takes the image with the one name it may have.
 *
 * @throws ImageError `unknown-image`; `in-use` if an ID names an image that has several names; `bad-reference`
 */
export async function removeImage(home: string, text: string): Promise<Removal> {
  const reference = parseReference(text);
  if (reference.kind !== 'name' && reference.kind !== 'id') {
    throw new ImageError('bad-reference', `${text} is not in the store: only names and IDs can be removed`);
  }
  try {
    // A store that has nothing is not made for the sake of being searched.
    findRecord(home, reference, text);
    await using workspace = await openWorkspace(home);
    return await withStoreLock(home, async () => {
      const { digest } = findRecord(home, reference, text);
      const names = allNames(home).filter((name) => name.digest === digest);
      const byName = reference.kind === 'name' && reference.digest === null && readName(home, reference) === digest;
      if (!byName && names.length > 1) {
        throw new ImageError(
          'in-use',
          `conflict: unable to delete ${text} (must be forced) - image is referenced in multiple repositories`,
        );
      }
      const taken = byName ? [reference as NameReference] : names.map(({ name }) => name);
      const removal: Removal = { untagged: taken.map(familiarReference), deleted: [] };
      for (const name of taken) await removeName(home, name);
      if (names.length <= taken.length) {
        await discard(imagePath(home, digest), workspace);
        await syncDirectory(join(home, IMAGES));
        removal.deleted.push(digest);
      }
      removal.deleted.push(...(await removeUnusedLayers(home, workspace)));
      return removal;
    });
  } catch (error) {
    throw toImageError(error, `cannot remove ${text}`);
  }
}

async function removeName(home: string, name: NameReference): Promise<void> {
  const path = namePath(home, name);
  await unlink(path);
  await syncDirectory(dirname(path));
  // The repository's folder goes with its last tag.
  await rmdir(dirname(path)).catch(() => {});
}

/** Removes the layers that no image has: those of the image just removed, and what a crash may have left. */
async function removeUnusedLayers(home: string, workspace: Workspace): Promise<string[]> {
  const used = new Set<string>();
  for (const digest of imageDigests(home)) {
    for (const { diffId } of readRecord(home, digest)?.layers ?? []) used.add(diffId);
  }
  const removed: string[] = [];
  for (const hex of list(join(home, LAYERS))) {
    const diffId = `sha256:${hex}`;
    if (used.has(diffId)) continue;
    await discard(layerPath(home, diffId), workspace);
    removed.push(diffId);
  }
  if (removed.length > 0) await syncDirectory(join(home, LAYERS));
  return removed;
}

/** Takes a folder out of the store at one stroke; its bytes go with the workspace. */
async function discard(path: string, workspace: Workspace): Promise<void> {
  const target = join(workspace.path, `removed-${path.split('/').slice(-2).join('-')}`);
  if (existsSync(target)) await rm(target, { recursive: true });
  await rename(path, target);
}
