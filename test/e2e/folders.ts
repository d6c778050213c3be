// Folders of the host that others make and remove meanwhile, as cgroups are.
import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

/** The folder, if there is one, and all below it. A parent comes before what is in it. */
export function foldersBelow(path: string | undefined): string[] {
  if (path === undefined) return [];
  const found = [path];
  for (const each of found) {
    try {
      const entries = readdirSync(each, { withFileTypes: true });
      for (const entry of entries) if (entry.isDirectory()) found.push(join(each, entry.name));
    } catch {
      // It has just been removed.
    }
  }
  return found;
}

/** Cgroups of all hierarchies whose path has this name. */
export function cgroupsNamed(name: string): string[] {
  return foldersBelow('/sys/fs/cgroup').filter((path) => path.split('/').includes(name));
}

/** Removes what engines leave of their cgroups. */
export function removeCgroups(name: string): void {
  for (const path of cgroupsNamed(name).reverse()) {
    try {
      rmdirSync(path);
    } catch (error) {
      if (existsSync(path)) throw error;
    }
  }
}
