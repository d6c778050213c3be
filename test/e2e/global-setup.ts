// Sets up what all end-to-end tests share:
// - one lab, which boots when the first test needs it;
// - whether this machine has KVM, which takes a second to find out;
// - two homes with the images that `./quickstart --setup-only --test` made: one for the lab, one
//   for this machine.
// The lab shares this machine's files but not its kernel. In a shared home, each would miss the
// other's locks and take the other's containers for dead.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';
import { Container } from '../../sandbox/containers/container.js';
import { Home } from '../../sandbox/home/home.js';
import { Lab } from '../lab/lab.js';
import { copyStores } from './own-home.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Path of the lab's socket. */
    lab: string;
    /** $TSVM_HOME in the lab, and on this machine. */
    homes: { lab: string; here: string };
    /** This machine's KVM can run a stock kernel. */
    hasKvm: boolean;
  }
}

const TSVM = fileURLToPath(new URL('../../bin/tsvm', import.meta.url));

function isKvmUsableHere(): boolean {
  try {
    return JSON.parse(execFileSync(TSVM, ['doctor', '--format', 'json'], { encoding: 'utf8' })).kvm.usable;
  } catch (error) {
    // doctor exits with 1 if anything is missing, but still prints its report.
    const stdout = error instanceof Error && 'stdout' in error ? String(error.stdout) : '';
    return stdout !== '' && JSON.parse(stdout).kvm.usable;
  }
}

/** Lists the containers left in a home, with their commands. */
function containersIn(home: string): string[] {
  return Container.list(new Home(home)).map(({ config, name }) => `${name} (${config.argv.join(' ')})`);
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const home = new Home().path;
  const folder = mkdtempSync(join(dirname(home), 'tsvm-test-'));
  project.provide('homes', {
    lab: copyStores(home, join(folder, 'lab')),
    here: copyStores(home, join(folder, 'here')),
  });
  project.provide('hasKvm', isKvmUsableHere());
  const lab = await Lab.onDemand();
  project.provide('lab', lab.socketPath);
  return async () => {
    await lab.stop();
    const left = containersIn(join(folder, 'here'));
    rmSync(folder, { recursive: true });
    if (left.length > 0) throw new Error(`tests left containers behind: ${left.join(', ')}`);
  };
}
