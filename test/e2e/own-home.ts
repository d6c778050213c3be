// A TSVM_HOME for tests: containers, networks and volumes of its own, and the images of the user's.
import { mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Home } from '../../sandbox/home/home.js';

/** In a folder that the lab has too. Disposing of it removes it. */
export class OwnHome implements Disposable {
  readonly path = mkdtempSync('/var/tmp/tsvm-home-');

  constructor() {
    const from = new Home().path;
    for (const name of readdirSync(from).filter((name) => name.startsWith('store-'))) {
      symlinkSync(realpathSync(join(from, name)), join(this.path, name));
    }
  }

  /** What containers have left: their folders, their names, their disks. */
  get left(): string[] {
    return [
      ...list(join(this.path, 'containers')).filter((name) => !/^(names|lock|events\.json(\.1)?)$/.test(name)),
      ...list(join(this.path, 'containers/names')),
      ...list(join(this.path, 'scratch')),
    ];
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** The names in a folder; none if it was never made. */
export function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
