// Which container is meant: an id, the beginning of one, or a name, as Docker reads them.
import { SandboxError } from '../errors.js';
import { ContainerFolder, containerFolders } from './container-folder.js';
import { ownerOf } from './container-names.js';

/**
 * Finds one container.
 * @throws SandboxError `no-such-container`, `ambiguous`
 */
export function findContainer(home: string, reference: string): ContainerFolder {
  if (/^[0-9a-f]{64}$/.test(reference)) {
    const folder = new ContainerFolder(home, reference);
    if (folder.config() !== undefined) return folder;
  }
  const named = ownerOf(home, reference);
  if (named !== undefined) return new ContainerFolder(home, named);
  const found = /^[0-9a-f]{1,64}$/.test(reference)
    ? containerFolders(home).filter(({ id }) => id.startsWith(reference))
    : [];
  if (found.length === 1 && found[0].config() !== undefined) return found[0];
  if (found.length > 1) throw new SandboxError('ambiguous', `several containers have IDs that begin with ${reference}`);
  throw new SandboxError('no-such-container', `no such container: ${reference.replace(/[^\x20-\x7e]+/g, '?')}`);
}
