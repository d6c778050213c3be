// A folder of one process under tmp/, in the store's own file system. Things are made there and
// then renamed into place. The folder is locked while its owner lives. A folder that is not locked
// has no owner, and the next process sweeps it.

import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { OwnedDescriptor } from '../../libc/owned-descriptor.js';
import { toImageError } from '../errors.js';
import { openBudget, type StoreBudget } from './budget.js';
import { unusedLayers } from './layers.js';
import { imagePath, layerPath, TMP } from './layout.js';
import { tryLock, withStoreLock } from './lock.js';
import { list, ownImages } from './names.js';

export interface Workspace extends AsyncDisposable {
  path: string;
  /** Whatever is written into the store is counted here. */
  budget: StoreBudget;
}

/**
 * Makes a workspace, and sweeps what dead processes left.
 * @param signal once aborted, the wait for the store's lock fails with its reason
 */
export async function openWorkspace(home: string, signal?: AbortSignal): Promise<Workspace> {
  const budget = openBudget(home);
  const { workspace, waste } = await withStoreLock(
    home,
    async () => {
      const waste = await takeWaste(home);
      const path = mkdtempSync(join(home, TMP, 'w'));
      const folder = new OwnedDescriptor(openSync(path, 'r'));
      tryLock(folder.fd);
      const workspace: Workspace = {
        path,
        budget,
        async [Symbol.asyncDispose]() {
          await rm(path, { recursive: true, force: true });
          folder[Symbol.dispose]();
        },
      };
      return { workspace, waste };
    },
    signal,
  );
  await destroy(waste);
  return workspace;
}

/**
 * Writes what only saves work later. A store that cannot be written, or has no room, stays as it
 * is.
 */
export async function ifWritable(write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    const failure = toImageError(error, 'cannot write to the image store');
    if (failure.code !== 'no-permission' && failure.code !== 'no-space') throw failure;
  }
}

/**
 * Takes what dead processes left out of the store: their workspaces, the images of these, and layers
 * whose image was never added.
 *
 * @returns the paths to pass to `destroy` once the store's lock is released
 */
export async function takeWaste(home: string): Promise<string[]> {
  const tmp = join(home, TMP);
  mkdirSync(tmp, { recursive: true, mode: 0o700 });
  const waste = list(tmp)
    .map((name) => join(tmp, name))
    .filter(isAbandoned);
  for (const digest of waste.flatMap(ownImages)) {
    if (existsSync(imagePath(home, digest))) waste.push(await discard(home, imagePath(home, digest)));
  }
  for (const diffId of unusedLayers(home)) waste.push(await discard(home, layerPath(home, diffId)));
  return waste;
}

/**
 * Takes a folder out of the store atomically. Returns its new path, for `destroy`. If the process
 * dies before that, the next one sweeps the folder.
 */
export async function discard(home: string, path: string): Promise<string> {
  const target = join(home, TMP, `removed-${path.split('/').slice(-2).join('-')}-${process.pid}-${discarded++}`);
  await rename(path, target);
  await syncDirectory(dirname(path));
  return target;
}

let discarded = 0;

/** Deletes what was discarded. What cannot be deleted now is swept later. */
export async function destroy(paths: string[]): Promise<void> {
  for (const path of paths) await rm(path, { recursive: true, force: true }).catch(() => {});
}

function isAbandoned(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    // Its owner has just removed it.
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
  try {
    return tryLock(fd);
  } finally {
    closeSync(fd);
  }
}

/** Renames a file or folder into the store durably: the change survives a power failure. */
export async function moveTo(from: string, to: string): Promise<void> {
  const folder = dirname(to);
  const made = await mkdir(folder, { recursive: true, mode: 0o700 });
  await rename(from, to);
  await syncDirectory(folder);
  if (made === undefined) return;
  for (let path = folder; path !== dirname(made); path = dirname(path)) await syncDirectory(dirname(path));
}

/** Makes renames into or out of a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Writes a whole file. It is durable once its directory is synced. */
export async function writeSynced(path: string, bytes: Buffer | string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
