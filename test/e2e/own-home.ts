// A TSVM_HOME for tests: its own containers, networks and volumes, and the images of the default
// home.
import { mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Home } from '../../sandbox/home/home.js';

/** A home in a folder that the lab sees too. Disposing of it removes the folder. */
export class OwnHome implements Disposable {
  readonly path = mkdtempSync('/var/tmp/tsvm-home-');

  constructor() {
    const from = new Home().path;
    for (const name of readdirSync(from).filter((name) => name.startsWith('store-'))) {
      symlinkSync(realpathSync(join(from, name)), join(this.path, name));
    }
  }

  /** What containers left behind: folders and names. */
  get left(): string[] {
    return [
      ...list(join(this.path, 'containers')).filter((name) => !/^(names|lock|events\.json(\.1)?)$/.test(name)),
      ...list(join(this.path, 'containers/names')),
    ];
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Returns the names in a folder, none if the folder does not exist. */
export function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
