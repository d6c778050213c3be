// A folder of one process under tmp/, in the store's own file system, where things are made before they are renamed
// into place. It is locked while its owner lives; a folder that can be locked belongs to nobody and is swept.

import { closeSync, mkdirSync, mkdtempSync, openSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '../../errors/index.js';
import { unusedLayers } from './layers.js';
import { layerPath, TMP } from './layout.js';
import { tryLock, withStoreLock } from './lock.js';
import { list } from './names.js';

export interface Workspace extends AsyncDisposable {
  path: string;
}

/** Makes a workspace, and sweeps what dead processes have left. */
export async function openWorkspace(home: string): Promise<Workspace> {
  const { workspace, waste } = await withStoreLock(home, async () => {
    const waste = await takeWaste(home);
    const path = mkdtempSync(join(home, TMP, 'w'));
    const fd = openSync(path, 'r');
    tryLock(fd);
    const workspace: Workspace = {
      path,
      async [Symbol.asyncDispose]() {
        await rm(path, { recursive: true, force: true });
        closeSync(fd);
      },
    };
    return { workspace, waste };
  });
  await destroy(waste);
  return workspace;
}

/**
 * Takes out of the store what a dead process has left: its workspace, and layers whose image it did not come to.
 *
 * @returns what is to be destroyed once the store's lock is given back
 */
export async function takeWaste(home: string): Promise<string[]> {
  const tmp = join(home, TMP);
  mkdirSync(tmp, { recursive: true, mode: 0o700 });
  const waste = list(tmp)
    .map((name) => join(tmp, name))
    .filter(isAbandoned);
  for (const diffId of unusedLayers(home)) waste.push(await discard(home, layerPath(home, diffId)));
  return waste;
}

/** Takes a folder out of the store at one stroke. The new path is for `destroy`, or for whoever sweeps. */
export async function discard(home: string, path: string): Promise<string> {
  const target = join(home, TMP, `removed-${path.split('/').slice(-2).join('-')}-${process.pid}-${discarded++}`);
  await rename(path, target);
  await syncDirectory(dirname(path));
  return target;
}

let discarded = 0;

/** Gives back the space of what was discarded. What cannot be destroyed now is swept later. */
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

/** Renames a file or folder into the store, so that it outlasts a power failure. */
export async function moveTo(from: string, to: string): Promise<void> {
  const folder = dirname(to);
  const made = await mkdir(folder, { recursive: true, mode: 0o700 });
  await rename(from, to);
  await syncDirectory(folder);
  if (made === undefined) return;
  for (let path = folder; path !== dirname(made); path = dirname(path)) await syncDirectory(dirname(path));
}

/** Makes what was renamed into or out of a directory outlast a power failure. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Writes a whole file so that it outlasts a power failure once its directory is synced. */
export async function writeSynced(path: string, bytes: Buffer | string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
