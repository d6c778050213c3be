// Who needs an image. A machine that runs has its disk's files open and locked, which the kernel takes back when it
// dies; who is not running, as a stopped container, leaves a file that names the image.

import { closeSync, openSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { ImageError, toImageError } from '../errors.js';
import { DISK, HOLDERS, imagePath } from './layout.js';
import { tryLock, withStoreLock } from './lock.js';
import { findStored, list, nameContents } from './names.js';
import { readIfThere } from './record.js';
import { moveTo, openWorkspace, syncDirectory, writeSynced } from './workspace.js';

const HOLDER = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** What `Store.hold` does. */
export async function holdImage(home: string, holder: string, text: string): Promise<string> {
  const path = holderPath(home, holder);
  try {
    // A store that has nothing is not made for the sake of being searched.
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

/** What `Store.release` does. */
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

/** Who holds each image, by its ID. */
export function heldImages(home: string): Map<string, string[]> {
  const held = new Map<string, string[]>();
  for (const holder of list(join(home, HOLDERS))) {
    const digest = readIfThere(join(home, HOLDERS, holder))
      ?.toString()
      .trimEnd();
    if (digest !== undefined) held.set(digest, [...(held.get(digest) ?? []), holder]);
  }
  return held;
}

/** Whether a machine runs the image now. */
export function isRunning(home: string, digest: string): boolean {
  let fd: number;
  try {
    fd = openSync(join(imagePath(home, digest), DISK), 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
  try {
    return !tryLock(fd);
  } finally {
    closeSync(fd);
  }
}
