// The containers that need an image. A running machine has its disk's files open and locked, and
// the kernel drops the lock when the machine dies. A container that does not run, such as a stopped
// one, keeps a file that names the image. The name of the file is the container's ID, or KIND-ID of
// another holder, such as a snapshot.

import { closeSync, openSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { hasFileLock } from '../../libc/file-lock.js';
import { ImageError, toImageError } from '../errors.js';
import { DISK, HOLDERS, imagePath } from './layout.js';
import { withStoreLock } from './lock.js';
import { findStored, list, nameContents } from './names.js';
import { readIfThere } from './record.js';
import { moveTo, openWorkspace, syncDirectory, writeSynced } from './workspace.js';

const HOLDER = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** Implements `Store.hold`. */
export async function holdImage(home: string, holder: string, text: string): Promise<string> {
  const path = holderPath(home, holder);
  try {
    // Fails before a workspace is opened, so that a search does not create an empty store.
    findStored(home, text);
    await using workspace = await openWorkspace(home);
    const file = join(workspace.path, 'holder');
    return await withStoreLock(home, async () => {
      const { digest } = findStored(home, text);
      await writeSynced(file, nameContents(digest));
      await moveTo(file, path);
      return digest;
    });
  } catch (error) {
    throw toImageError(error, `cannot hold ${text}`);
  }
}

/** Implements `Store.release`. */
export async function releaseImage(home: string, holder: string): Promise<void> {
  const path = holderPath(home, holder);
  try {
    await unlink(path);
    await syncDirectory(join(home, HOLDERS));
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw toImageError(error, `cannot release ${holder}`);
  }
}

function holderPath(home: string, holder: string): string {
  if (!HOLDER.test(holder)) throw new ImageError('bad-reference', `${holder} cannot be the name of a holder`);
  return join(home, HOLDERS, holder);
}

/** Implements `Store.holders`. */
export function allHolders(home: string): string[] {
  return list(join(home, HOLDERS));
}

/** Returns the holders of each image, by image ID. */
export function heldImages(home: string): Map<string, string[]> {
  const held = new Map<string, string[]>();
  for (const holder of allHolders(home)) {
    const digest = readIfThere(join(home, HOLDERS, holder))
      ?.toString()
      .trimEnd();
    if (digest !== undefined) held.set(digest, [...(held.get(digest) ?? []), holder]);
  }
  return held;
}

/** Returns true if a running machine uses the image. */
export function isRunning(home: string, digest: string): boolean {
  let fd: number;
  try {
    fd = openSync(join(imagePath(home, digest), DISK), 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
  try {
    return hasFileLock(fd);
  } finally {
    closeSync(fd);
  }
}
