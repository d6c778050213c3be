// Node.js remembers a module that it could not load, for the life of the process. Programs that live long
// meet a lack of descriptors, and the upgrade of their package: they load all that they need at the start.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));

/** The files that calls of a program import, apart from those that are named. */
async function loadedLate(entryPoint: string, early: string[]): Promise<string[]> {
  const { metafile } = await build({
    ...{ entryPoints: [entryPoint], absWorkingDir: project, outdir: '/nowhere', write: false, metafile: true },
    ...({ bundle: true, splitting: true, format: 'esm', platform: 'node', external: ['koffi'] } as const),
  });
  const loaded = new Set<string>();
  const late = new Set<string>();
  const load = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { path: next, kind, external } of metafile.inputs[path]?.imports ?? []) {
      if (kind !== 'dynamic-import') load(next);
      else if (external !== true) late.add(next);
    }
  };
  [entryPoint, ...early].forEach(load);
  expect([...loaded].filter((path) => early.includes(path))).toHaveLength(early.length);
  return [...late].filter((path) => !loaded.has(path)).sort();
}

test('the server is one file', () => {
  const program = readFileSync(join(project, 'dist/service.js'), 'latin1');
  expect(program.match(/(?<![\w$.])(?:import|from)\s*\(?\s*["'`]\.{1,2}\/.{0,40}/g)).toBe(null);
});

/** What makes and reads images, and prepares kernels: a container needs some of it, at its first start. */
const FOR_STARTS = /^(images|kernels)\//;

test.each([
  [
    'sandbox/supervision/supervisor.ts',
    /^images\/store\/holders/,
    [
      // As it starts.
      ...['sandbox/home/home.ts', 'sandbox/home/container-record.ts', 'images/index.ts'],
      'sandbox/supervision/supervision.ts',
      // As the container does.
      ...['sandbox/machine/outside.ts', 'sandbox/egress/egress-process.ts'],
      // Once a container runs that is removed at its end. Others hold their images all the time.
      'images/store/holders.ts',
    ],
  ],
  // Its containers hold no images.
  ['oci/keeper/main.ts', /^$/, []],
])('%s loads nothing while a container runs', async (entryPoint, needed, early) => {
  const late = await loadedLate(entryPoint, early);
  expect(late.filter((path) => needed.test(path) || !FOR_STARTS.test(path))).toEqual([]);
});
