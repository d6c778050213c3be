// What containers leave that were to be removed when they end, and whose supervisor was killed before it could.
import { readFileSync } from 'node:fs';
import { type ContainerFolder, containerFolders } from './folder.js';
import { releaseName, withContainersLock } from './names.js';
import type { ContainerConfig, ContainerState } from './record.js';

/** Whether this is one of them. Its state as read: `ContainerFolder.state`. */
export function isLeftBehind({ spec }: ContainerConfig, { isLost, bootId: boot }: ContainerState): boolean {
  // What ran before the host went down is left to be seen, and to be removed by hand.
  return spec.autoRemove === true && isLost === true && boot === bootId();
}

/** Names this start of the host. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** Removes one, unless somebody has just started it. */
export async function removeLeftBehind(folder: ContainerFolder): Promise<void> {
  using lock = folder.lock();
  if (lock === undefined) return;
  await withContainersLock(folder.home, () => releaseName(folder.home, folder.id));
  folder.remove();
}

/** Removes them all. */
export async function sweepLeftBehind(home: string): Promise<void> {
  for (const folder of containerFolders(home)) {
    const config = folder.config();
    if (config !== undefined && isLeftBehind(config, folder.state())) await removeLeftBehind(folder);
  }
}
