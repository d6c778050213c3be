// A TSVM_HOME for tests: its own containers, networks and volumes, and the images of the default
// home.
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Home } from '../../sandbox/home/home.js';

/** A home in a folder that the lab sees too. Disposing of it removes the folder. */
export class OwnHome implements Disposable {
  readonly path: string;

  /** @param hasOwnStore its store is a copy, in which no container holds an image */
  constructor(hasOwnStore = false) {
    if (hasOwnStore) {
      const from = new Home().path;
      this.path = copyStores(from, join(dirname(from), `tsvm-home-${randomUUID()}`));
      for (const holder of heldImages(this.path)) rmSync(holder);
    } else {
      this.path = mkdtempSync('/var/tmp/tsvm-home-');
      linkStores(this.path);
    }
  }

  /** What containers left behind: folders and names. */
  get left(): string[] {
    return [
      ...list(join(this.path, 'containers')).filter(
        (name) => !/^(names|lock|shared-folders\.json|events\.json(\.1)?)$/.test(name),
      ),
      ...list(join(this.path, 'containers/names')),
    ];
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Paths of the files by which containers and snapshots hold images of a home. */
export function heldImages(home: string): string[] {
  return list(home)
    .filter((name) => name.startsWith('store-'))
    .flatMap((store) => list(join(home, store, 'holders')).map((name) => join(home, store, 'holders', name)));
}

/** Gives a home the images of another one. @param from Default: the default home */
export function linkStores(home: string, from = new Home().path): void {
  for (const name of readdirSync(from).filter((name) => name.startsWith('store-'))) {
    symlinkSync(realpathSync(join(from, name)), join(home, name));
  }
}

/**
 * Makes a home with the images of `from`, in the same file system, and a store of its own. The files of
 * a store never change, so that hard links are as good as copies. Returns its path.
 */
export function copyStores(from: string, to: string): string {
  mkdirSync(to);
  const stores = readdirSync(from).filter((name) => name.startsWith('store-'));
  execFileSync('cp', ['-al', ...stores.map((name) => join(from, name)), to]);
  return to;
}

/** Returns the names in a folder, none if the folder does not exist. */
export function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
