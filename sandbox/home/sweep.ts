// What containers leave that were to be removed when they end, and whose supervisor was killed before it could.
import { type ContainerFolder, containerFolders } from './container-folder.js';
import { releaseName, withContainersLock } from './container-names.js';
import { isLeftBehind } from './container-record.js';
import { VolumeStore } from './volumes.js';

/** Removes one, unless somebody has just started it. */
async function removeLeftBehind(folder: ContainerFolder): Promise<void> {
  using lock = folder.lock();
  if (lock === undefined) return;
  const { home, id } = folder;
  const mounts = folder.config()?.spec.mounts;
  await withContainersLock(home, () => releaseName(home, id));
  folder.remove();
  await new VolumeStore(home).removeAnonymous(mounts);
}

/** Removes them all. */
export async function sweepLeftBehind(home: string): Promise<void> {
  for (const folder of containerFolders(home)) {
    const config = folder.config();
    if (config !== undefined && isLeftBehind(config, folder.state())) await removeLeftBehind(folder);
  }
}
