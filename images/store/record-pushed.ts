// Records in the store what an image was pushed as.

import { existsSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { NameReference } from '../reference.js';
import { imagePath, PUSHED } from './layout.js';
import { withStoreLock } from './lock.js';
import { manifestsOf, pushedFile } from './pushed.js';
import { ifWritable, openWorkspace, syncDirectory, writeSynced } from './workspace.js';

/** @param digest `sha256:<hex>` of the manifest */
export async function recordPushed(home: string, image: string, name: NameReference, digest: string): Promise<void> {
  if (manifestsOf(home, image)(name) === digest) return;
  await ifWritable(async () => {
    await using workspace = await openWorkspace(home);
    await withStoreLock(home, async () => {
      const folder = imagePath(home, image);
      if (!existsSync(folder)) return;
      const file = join(workspace.path, PUSHED);
      await writeSynced(file, pushedFile(home, image, name, digest));
      await rename(file, join(folder, PUSHED));
      await syncDirectory(folder);
    });
  });
}
