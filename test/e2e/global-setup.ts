// What all end-to-end tests share: one lab, which boots when the first of them needs it, and for each host that tsvm runs on a home of its own with the images that
// `./quickstart --setup-only --test` made. The lab has this machine's files but not its kernel: a home of both would
// hold locks that only one of them sees, and each would take the other's containers for dead.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { Container } from '../../sandbox/containers/container.js';
import { Home } from '../../sandbox/home/home.js';
import { Lab } from '../lab/lab.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Path of the lab's socket. */
    lab: string;
    /** $TSVM_HOME in the lab, and on this machine. */
    homes: { lab: string; here: string };
  }
}

/** The store's files never change, so that links to them are as good as copies. */
function linkStore(from: string, to: string): string {
  mkdirSync(to);
  const stores = readdirSync(from).filter((name) => name.startsWith('store-'));
  execFileSync('cp', ['-al', ...stores.map((name) => join(from, name)), to]);
  return to;
}

/** The containers that are left in a home, by what they were to run. */
function containersIn(home: string): string[] {
  return Container.list(new Home(home)).map(({ config, name }) => `${name} (${config.argv.join(' ')})`);
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const home = new Home().path;
  const folder = mkdtempSync(join(dirname(home), 'tsvm-test-'));
  project.provide('homes', { lab: linkStore(home, join(folder, 'lab')), here: linkStore(home, join(folder, 'here')) });
  const lab = await Lab.onDemand();
  project.provide('lab', lab.socketPath);
  return async () => {
    await lab.stop();
    const left = containersIn(join(folder, 'here'));
    rmSync(folder, { recursive: true });
    if (left.length > 0) throw new Error(`tests left containers behind: ${left.join(', ')}`);
  };
}
