// A folder of one process under tmp/, in the store's own file system, where things are made before they are renamed
// into place. It is locked while its owner lives; a folder that can be locked belongs to nobody and is swept.

import { closeSync, mkdirSync, mkdtempSync, openSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TMP } from './layout.js';
import { tryLock, withStoreLock } from './lock.js';
import { list } from './names.js';

export interface Workspace extends AsyncDisposable {
  path: string;
}

/** Makes a workspace, and sweeps those whose owners are gone. */
export async function openWorkspace(home: string): Promise<Workspace> {
  return withStoreLock(home, async () => {
    const tmp = join(home, TMP);
    mkdirSync(tmp, { recursive: true, mode: 0o700 });
    await sweep(tmp);
    const path = mkdtempSync(join(tmp, 'w'));
    const fd = openSync(path, 'r');
    tryLock(fd);
    return {
      path,
      async [Symbol.asyncDispose]() {
        await rm(path, { recursive: true, force: true });
        closeSync(fd);
      },
    };
  });
}

async function sweep(tmp: string): Promise<void> {
  for (const name of list(tmp)) {
    const path = join(tmp, name);
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (error) {
      // Its owner has just removed it.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    try {
      if (tryLock(fd)) await rm(path, { recursive: true, force: true });
    } finally {
      closeSync(fd);
    }
  }
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
