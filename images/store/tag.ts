// Gives an image another name.

import { join } from 'node:path';
import { ImageError, toImageError } from '../errors.js';
import { type NameReference, parseName } from '../reference.js';
import { namePath } from './layout.js';
import { withStoreLock } from './lock.js';
import { findStored, nameContents } from './names.js';
import { moveTo, openWorkspace, type Workspace, writeSynced } from './workspace.js';

/** Implements `Store.tag`. */
export async function tagImage(home: string, text: string, nameText: string): Promise<void> {
  const name = parseName(nameText);
  if (name.digest !== null) {
    throw new ImageError('bad-reference', 'refusing to create a tag with a digest reference');
  }
  try {
    // Fails before a workspace is opened, so that a search does not create an empty store.
    findStored(home, text);
    await using workspace = await openWorkspace(home);
    await withStoreLock(home, () => putName(home, workspace, findStored(home, text).digest, name));
  } catch (error) {
    throw toImageError(error, `cannot tag ${text}`);
  }
}

/**
 * Gives an image a name. If another image has the name, it loses it. The caller holds the store's
 * lock.
 */
export async function putName(home: string, workspace: Workspace, digest: string, name: NameReference): Promise<void> {
  const file = join(workspace.path, 'name');
  await writeSynced(file, nameContents(digest));
  await moveTo(file, namePath(home, name));
}
