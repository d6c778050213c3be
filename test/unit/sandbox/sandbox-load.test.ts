// A sandbox whose program cannot be loaded is not made: nothing of it is left.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, onTestFinished, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));

test('what starts machines is loaded before a machine or a container is made', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-load-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const { metafile } = await build({
    ...({ entryPoints: { sdk: 'sandbox/index.ts' }, outdir: folder, absWorkingDir: project } as const),
    ...({ bundle: true, splitting: true, format: 'esm', platform: 'node', external: ['koffi'] } as const),
    ...({ target: 'node20', metafile: true } as const),
  });
  const chunks = Object.entries(metafile.outputs);
  const [gone] = chunks.find(([, { entryPoint }]) => entryPoint === 'sandbox/supervision/supervision.ts') ?? [];
  rmSync(join(folder, basename(gone ?? '')));
  const home = join(folder, 'home');
  const script = join(folder, 'script.mjs');
  writeFileSync(
    script,
    `import { Home, Sandbox } from './sdk.js';
     const home = new Home(${JSON.stringify(home)});
     const refusal = (making) => making.then(() => 'made', ({ code }) => code);
     const image = await refusal(Sandbox.create('nothing', { home, pull: 'never' }));
     console.log(image, await refusal(Sandbox.restore('nothing', { home })));`,
  );
  const env = { PATH: process.env.PATH, XDG_RUNTIME_DIR: folder };
  const said = execFileSync(process.execPath, [script], { encoding: 'utf8', env });
  expect(said).toBe('ERR_MODULE_NOT_FOUND ERR_MODULE_NOT_FOUND\n');
  expect(readdirSync(folder)).not.toContain('home');
});
