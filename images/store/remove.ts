// Removes names and images. A running VM can still read the files that it has open: they only lose
// their names. Removal creates no file, so it works on a full disk.

import { rmdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImageError, toImageError } from '../errors.js';
import { familiarReference, type NameReference } from '../reference.js';
import type { Pruned, PruneOptions, Removal, RemoveOptions } from '../types.js';
import { bytesOnDisk } from './disk-space.js';
import { heldImages, isRunning } from './holders.js';
import { unusedLayers } from './layers.js';
import { imagePath, layerPath, NAMES, namePath } from './layout.js';
import { withStoreLock } from './lock.js';
import { allNames, findStored, imageDigests, list, readName, temporaryImages } from './names.js';
import { destroy, discard, syncDirectory, takeWaste } from './workspace.js';

/** Implements `Store.remove`. */
export async function removeImage(home: string, text: string, { force = false }: RemoveOptions): Promise<Removal> {
  try {
    // Fails before the store is locked, so that a search does not create an empty store.
    findStored(home, text);
    const removal: Removal = { untagged: [], deleted: [] };
    const waste = await withStoreLock(home, async () => {
      const waste = await takeWaste(home);
      const { digest, reference } = findStored(home, text);
      const names = namesOf(home, digest);
      const byName = reference.kind === 'name' && readName(home, reference) === digest;
      const taken = byName ? namesTaken(names, reference) : names;
      if (!byName && areSeveral(names) && !force) throw conflict(text, 'must be forced', 'multiple repositories');
      let goes = names.length <= taken.length;
      if (goes) {
        const user = userOf(home, digest);
        if (user !== null && !(force && byName))
          throw conflict(text, byName ? 'must be forced' : 'cannot be forced', user);
        goes = user === null;
      }
      for (const name of taken) await removeName(home, name);
      removal.untagged.push(...taken.map(familiarReference));
      if (goes) await take(home, digest, removal, waste);
      return waste;
    });
    await destroy(waste);
    return removal;
  } catch (error) {
    throw toImageError(error, `cannot remove ${text}`);
  }
}

/** Implements `Store.prune`. */
export async function pruneImages(home: string, { all = false, keep = () => false }: PruneOptions): Promise<Pruned> {
  try {
    const pruned: Pruned = { untagged: [], deleted: [], reclaimed: 0 };
    if (list(home).length === 0) return pruned;
    const waste = await withStoreLock(home, async () => {
      const waste = await takeWaste(home);
      const temporary = temporaryImages(home);
      for (const digest of imageDigests(home)) {
        if (temporary.has(digest)) continue;
        const names = namesOf(home, digest);
        if ((names.length > 0 && !all) || userOf(home, digest) !== null || keep(digest)) continue;
        for (const name of names) await removeName(home, name);
        pruned.untagged.push(...names.map(familiarReference));
        await take(home, digest, pruned, waste);
      }
      await removeEmptyRepositories(home);
      return waste;
    });
    for (const path of waste) pruned.reclaimed += bytesOnDisk(path);
    await destroy(waste);
    return pruned;
  } catch (error) {
    throw toImageError(error, 'cannot prune the images');
  }
}

function namesOf(home: string, digest: string): NameReference[] {
  return allNames(home)
    .filter((name) => name.digest === digest)
    .map(({ name }) => name);
}

/**
 * The names to remove together with `taken`. A repository's last tag takes its names by digest
 * along: they were given with the tag or by a pull.
 */
function namesTaken(names: NameReference[], taken: NameReference): NameReference[] {
  const others = names.filter(
    (name) => isSameRepository(name, taken) && familiarReference(name) !== familiarReference(taken),
  );
  return others.some(({ tag }) => tag !== null) ? [taken] : [taken, ...others];
}

/** Returns true if an image has names besides one tag and the digests of the same repository. */
function areSeveral(names: NameReference[]): boolean {
  const [first] = names;
  if (first === undefined) return false;
  return names.filter(({ tag }) => tag !== null).length > 1 || names.some((name) => !isSameRepository(name, first));
}

function isSameRepository(one: NameReference, other: NameReference): boolean {
  return one.domain === other.domain && one.path === other.path;
}

/** What keeps the image from being removed, for a message. Returns null if nothing does. */
function userOf(home: string, digest: string): string | null {
  const [holder] = heldImages(home).get(digest) ?? [];
  if (holder !== undefined) {
    const [, kind = 'container', id = holder] = /^([a-z]+)-(.+)$/.exec(holder) ?? [];
    return `${kind} ${id.slice(0, 12)}`;
  }
  return isRunning(home, digest) ? 'a running container' : null;
}

/** Worded as Docker does. */
function conflict(text: string, force: string, by: string): ImageError {
  const why = by === 'multiple repositories' ? `referenced in ${by}` : `being used by ${by}`;
  return new ImageError('in-use', `conflict: unable to delete ${text} (${force}) - image is ${why}`);
}

/** Takes a name from the image that has it, if there is one. The image stays. */
export async function untag(home: string, name: NameReference): Promise<void> {
  await withStoreLock(home, async () => {
    if (readName(home, name) !== null) await removeName(home, name);
  });
}

async function removeName(home: string, name: NameReference): Promise<void> {
  const path = namePath(home, name);
  await unlink(path);
  await syncDirectory(dirname(path));
  // The repository's folder is removed with its last tag.
  await rmdir(dirname(path)).then(
    () => syncDirectory(join(home, NAMES)),
    () => {},
  );
}

/**
 * Removes empty folders. They are left by a process killed between the creation of a repository's
 * folder and of its first tag, or after the removal of its last tag.
 */
async function removeEmptyRepositories(home: string): Promise<void> {
  for (const repository of list(join(home, NAMES))) await rmdir(join(home, NAMES, repository)).catch(() => {});
}

/** Removes an image, and the layers that no other image has. */
async function take(home: string, digest: string, removal: Removal, waste: string[]): Promise<void> {
  waste.push(await discard(home, imagePath(home, digest)));
  removal.deleted.push(digest);
  for (const diffId of unusedLayers(home)) {
    waste.push(await discard(home, layerPath(home, diffId)));
    removal.deleted.push(diffId);
  }
}
