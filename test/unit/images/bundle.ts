// Runs the images room in processes of its own, for tests that kill a process or let two work at
// the same time.

import { type ChildProcess, spawn } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');

/**
 * Bundles the room.
 * @param door the module whose function `open` opens the store
 * @returns a function that starts a process. The process evaluates an expression with `store`, an
 *   open store, and prints the value as JSON
 */
export async function bundleImages(
  work: string,
  { door, open } = { door: 'images/index.ts', open: 'openStore' },
): Promise<(home: string, expression: string) => ChildProcess> {
  symlinkSync(join(root, 'node_modules'), join(work, 'node_modules'));
  const program = join(work, 'images.mjs');
  await build({
    entryPoints: [join(root, door)],
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi'],
    outfile: program,
  });
  writeFileSync(
    join(work, 'run.mjs'),
    `import { ${open} as open } from './images.mjs';
     const store = open(process.argv[2]);
     console.log(JSON.stringify(await eval(process.argv[3])));`,
  );
  return (home, expression) =>
    spawn(process.execPath, [join(work, 'run.mjs'), home, expression], { stdio: ['pipe', 'pipe', 'pipe'] });
}

/** Resolves with what a process prints and its exit code. */
export async function finished(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr!.on('data', (chunk) => {
    stderr += chunk;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, stdout, stderr };
}
