// Gives an image one more name.

import { join } from 'node:path';
import { ImageError, toImageError } from '../errors.js';
import { type NameReference, parseName } from '../reference.js';
import { namePath } from './layout.js';
import { withStoreLock } from './lock.js';
import { findStored, nameContents } from './names.js';
import { moveTo, openWorkspace, type Workspace, writeSynced } from './workspace.js';

/** What `Store.tag` does. */
export async function tagImage(home: string, text: string, nameText: string): Promise<void> {
  const name = parseName(nameText);
  if (name.digest !== null) {
    throw new ImageError('bad-reference', 'refusing to create a tag with a digest reference');
  }
  try {
    // A store that has nothing is not made for the sake of being searched.
    findStored(home, text);
    await using workspace = await openWorkspace(home);
    await withStoreLock(home, () => putName(home, workspace, findStored(home, text).digest, name));
  } catch (error) {
    throw toImageError(error, `cannot tag ${text}`);
  }
}

/** Gives an image a name, which another may have had. The caller holds the store's lock. */
export async function putName(home: string, workspace: Workspace, digest: string, name: NameReference): Promise<void> {
  const file = join(workspace.path, 'name');
  await writeSynced(file, nameContents(digest));
  await moveTo(file, namePath(home, name));
}
