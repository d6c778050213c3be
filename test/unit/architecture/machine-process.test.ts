// The machine process starts no program: nothing that it is made of could.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

const project = fileURLToPath(new URL('../../..', import.meta.url));

test.each(['vmm/process/main.ts', 'vmm/accel/kvm/vcpu-worker.ts'])('%s reaches no child_process', async (program) => {
  const { metafile } = await build({
    ...{ entryPoints: [program], absWorkingDir: project, outdir: '/nowhere', write: false, metafile: true },
    ...({ bundle: true, splitting: true, format: 'esm', platform: 'node', external: ['koffi'] } as const),
  });
  const files = Object.entries(metafile.inputs);
  expect(files.length).toBeGreaterThan(10);
  const starters = files.filter(([, { imports }]) => imports.some(({ path }) => /child_process|cluster/.test(path)));
  expect(starters.map(([path]) => path)).toEqual([]);
});
